# RTMDetHead hands over points with strides and logits; its soft labels are LLA's IoUs.
_base_ = './rtmdet_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type='LLAAssigner', prior_form='points')))
