# YOLOXHead hands over points with strides and probabilities (root of class times objectness).
_base_ = './yolox_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True, type='LLAAssigner', prior_form='points', score_form='probs')))
