# Weight 1 of the box cost in the assignment, in place of 1.5.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(reg_weight=1.0)))
