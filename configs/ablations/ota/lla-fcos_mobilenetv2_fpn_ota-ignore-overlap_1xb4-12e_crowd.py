# OTA with priors in ignore boxes taken out of the market.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(ignore='overlap')))
