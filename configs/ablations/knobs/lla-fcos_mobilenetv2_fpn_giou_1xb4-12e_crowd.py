# 1 - GIoU for the box cost of the assignment.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(reg_cost='giou')))
