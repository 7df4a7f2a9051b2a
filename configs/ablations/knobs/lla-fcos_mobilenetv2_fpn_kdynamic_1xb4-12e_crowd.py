# As many priors a box as the sum of its ten largest IoUs, as in SimOTA.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(topk='dynamic')))
