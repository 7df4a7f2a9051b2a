# RTMDet's head and losses under its own assigner, on the demo's network, data and schedule.
_base_ = [
    '../../_base_/models/mobilenetv2_fpn_crowd.py',
    '../../_base_/datasets/crowd_demo.py',
    '../../_base_/schedules/schedule_demo.py',
]
model = dict(
    type='RTMDet',
    bbox_head=dict(
        _delete_=True,
        type='RTMDetSepBNHead',
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=True,
    ),
    train_cfg=dict(
        _delete_=True,
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1,
    ),
)
# The levels share their convolutions.
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
