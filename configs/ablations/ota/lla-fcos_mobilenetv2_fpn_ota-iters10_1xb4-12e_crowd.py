# OTA with 10 rounds of Sinkhorn's algorithm in place of 50.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(sinkhorn_iters=10)))
