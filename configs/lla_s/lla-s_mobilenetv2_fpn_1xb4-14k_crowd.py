# lla-s, the detector that ships: LLA on a small network, from generated crowds alone.
# README.md beside this file has the commands that make the images.
_base_ = [
    '../_base_/models/mobilenetv2_fpn_crowd.py',
    '../_base_/datasets/crowd_demo.py',
    '../_base_/schedules/schedule_demo.py',
]
model = dict(
    # Layers that know real images stay as they are: the statistics, and the first stages.
    backbone=dict(norm_eval=True),
    bbox_head=dict(
        _delete_=True,
        type='LLAHead',
        num_classes=1,
        in_channels=96,
        feat_channels=64,
        stacked_convs=2,
        # Boxes start as squares of 8 strides, as ATSS's anchors do.
        init_cfg=dict(
            type='Normal',
            layer='Conv2d',
            std=0.01,
            override=[
                dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.01),
                dict(type='Normal', name='retina_reg', std=0.01, bias=4.0),
            ],
        ),
    ),
    train_cfg=dict(_delete_=True, assigner=dict(type='LLAAssigner')),
    test_cfg=dict(nms=dict(iou_threshold=0.5)),
)

wide_root = '{{$CROWD_WIDE_ROOT:data/crowd-wide/}}'
near_root = '{{$CROWD_NEAR_ROOT:data/crowd-near/}}'
plain_root = '{{$CROWD_ROOT:data/crowd/}}'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(640, 480), ratio_range=(0.6, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(384, 512), allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(8, 16), keep_empty=False),
    dict(type='RandomFlip', prob=0.5),
    # Cameras differ in more than light and color.
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='Equalize', prob=1.0)],
            [dict(type='AutoContrast', prob=1.0)],
            [dict(type='Sharpness', prob=1.0, min_mag=0.1, max_mag=1.9)],
            [dict(type='Color', prob=1.0, min_mag=0.0, max_mag=0.5)],
            [],
        ],
        prob=[0.08, 0.12, 0.15, 0.15, 0.5],
    ),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(640, 480), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
wide = dict(
    type='CrowdDataset',
    data_root=wide_root,
    ann_file='annotation_train.odgt',
    data_prefix=dict(img='Images/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            wide,
            dict(wide, data_root=plain_root),
            # People close to the camera, whom crowds have few of.
            dict(type='RepeatDataset', times=2, dataset=dict(wide, data_root=near_root)),
        ],
    ),
)
val_dataloader = dict(batch_size=1, dataset=dict(data_root=wide_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=wide_root + 'annotation_val.odgt')
test_evaluator = val_evaluator

max_iters = 14000
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters
)
# A small step for the pretrained layers, a large one for the new.
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, eta_min_ratio=0.01),
]
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=2)
)
log_processor = dict(by_epoch=False)
custom_hooks = [
    dict(type='ChannelsLastHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=5e-4, gamma=300, update_buffers=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=4)
