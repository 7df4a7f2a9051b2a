# lla-n fine-tuned on one's own images, in CrowdHuman's format: set PEOPLE_ROOT to their directory.
_base_ = '../lla_s/lla-s_mobilenetv2_fpn_1xb2-12e_people.py'
load_from = 'mmdet_lla://lla-n'
separable = dict(type='SeparableConv2d')
model = dict(neck=dict(conv_cfg=separable), bbox_head=dict(conv_cfg=separable))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.8, 1.4), keep_ratio=True),
    *_base_.train_pipeline[3:],  # noqa: F821
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 300), keep_ratio=True),
    *_base_.test_pipeline[2:],  # noqa: F821
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
