# OTA with the box cost weighed 3 in place of 1.5.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(reg_weight=3.0)))
