# Candidates lie inside the box and less than 2.5 strides from its center, as in SimOTA.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(candidates='center', prior_form='points')))
