# DDOD's head and losses under its own assigners, on the demo's network, data and schedule.
_base_ = [
    '../../_base_/models/mobilenetv2_fpn_crowd.py', '../../_base_/datasets/crowd_demo.py',
    '../../_base_/schedules/schedule_demo.py'
]
model = dict(
    type='DDOD',
    bbox_head=dict(
        _delete_=True,
        type='DDODHead',
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        use_dcn=False,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=8,
            scales_per_octave=1,
            ratios=[1.0],
            strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0)),
    train_cfg=dict(
        _delete_=True,
        assigner=dict(type='ATSSAssigner', topk=9, alpha=0.8),
        reg_assigner=dict(type='ATSSAssigner', topk=9, alpha=0.5),
        allowed_border=-1,
        pos_weight=-1))
