# OTA with candidates within 1.5 strides of a box's centre in place of 2.5.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(center_radius=1.5)))
