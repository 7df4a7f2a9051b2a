# OTA with a softer plan of transport.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(sinkhorn_eps=0.5)))
