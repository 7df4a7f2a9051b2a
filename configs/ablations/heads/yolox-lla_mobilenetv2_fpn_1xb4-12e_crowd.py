# YOLOXHead hands over points with strides and probabilities (root of class times objectness). It
# leaves no prior out of its losses, so ignore boxes must win none.
_base_ = './yolox_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='LLAAssigner',
            prior_form='points',
            score_form='probs',
            ignore='unused',
        )
    )
)
