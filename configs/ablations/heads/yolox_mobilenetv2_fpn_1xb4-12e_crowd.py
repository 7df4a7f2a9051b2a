# YOLOX's head and losses under its own assigner, on the demo's network, data and schedule.
_base_ = [
    '../../_base_/models/mobilenetv2_fpn_crowd.py',
    '../../_base_/datasets/crowd_demo.py',
    '../../_base_/schedules/schedule_demo.py',
]
model = dict(
    type='YOLOX',
    bbox_head=dict(
        _delete_=True,
        type='YOLOXHead',
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        strides=(8, 16, 32, 64, 128),
    ),
    train_cfg=dict(_delete_=True, assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
)
