# Binary cross entropy for the class cost of the assignment.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(cls_cost='bce')))
