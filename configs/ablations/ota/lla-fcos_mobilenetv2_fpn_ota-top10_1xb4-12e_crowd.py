# OTA with K from the 10 largest IoUs in place of 20.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(candidate_topk=10)))
