# lla-n: lla-s with separable convolutions in FPN and head, and a smaller input. It starts from the
# weights of lla-s (load_from, see README.md).
_base_ = '../lla_s/lla-s_mobilenetv2_fpn_1xb4-7k_crowd.py'
separable = dict(type='SeparableConv2d')
model = dict(
    backbone=dict(init_cfg=None),
    neck=dict(conv_cfg=separable),
    bbox_head=dict(conv_cfg=separable),
    # fitted on the earlier part of the street, which no test uses
    test_cfg=dict(score_calibration=(4.165, -1.901)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.55, 1.6), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(288, 384), allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(5, 12), keep_empty=False),
    *_base_.train_pipeline[5:],  # noqa: F821
]
wide = dict(_base_.wide, pipeline=train_pipeline)  # noqa: F821
train_dataloader = dict(
    dataset=dict(
        datasets=[
            wide,
            dict(wide, data_root=_base_.plain_root),  # noqa: F821
            dict(
                type='RepeatDataset',
                times=2,
                dataset=dict(wide, data_root=_base_.near_root),  # noqa: F821
            ),
        ]
    )
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 300), keep_ratio=True),
    *_base_.test_pipeline[2:],  # noqa: F821
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_iters, decay = 9700, 8800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=decay, end=max_iters, eta_min=1e-5),
]
custom_hooks = [
    dict(type='ChannelsLastHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-3, gamma=100, update_buffers=True),
]
