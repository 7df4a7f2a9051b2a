# TOOD's head and losses under its own assigners, on the demo's network, data and schedule.
_base_ = '../../demo/atss_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    type='TOOD',
    bbox_head=dict(
        type='TOODHead',
        loss_cls=dict(
            _delete_=True,
            type='QualityFocalLoss',
            use_sigmoid=True,
            activated=True,
            beta=2.0,
            loss_weight=1.0,
        ),
    ),
    train_cfg=dict(
        _delete_=True,
        initial_epoch=4,
        initial_assigner=dict(type='ATSSAssigner', topk=9),
        assigner=dict(type='TaskAlignedAssigner', topk=13),
        alpha=1,
        beta=6,
        allowed_border=-1,
        pos_weight=-1,
    ),
)
