# SimOTA by the knobs of LLAAssigner: decides as mmdet's SimOTAAssigner().
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(
        assigner=dict(
            topk='dynamic',
            candidate_topk=10,
            candidates='center',
            center_radius=2.5,
            cls_weight=1.0,
            reg_weight=3.0,
            cls_cost='bce',
            reg_cost='iou_plus_eps',
            ignore='unused',
            prior_form='points',
            score_form='probs',
            outside_penalty=1e5,
        )
    )
)
