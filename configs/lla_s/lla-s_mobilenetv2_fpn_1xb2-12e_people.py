# lla-s fine-tuned on one's own images, in CrowdHuman's format: set PEOPLE_ROOT to their directory.
_base_ = './lla-s_mobilenetv2_fpn_1xb4-7k_crowd.py'
load_from = 'mmdet_lla://lla-s'
model = dict(
    backbone=dict(init_cfg=None),  # no other weights are needed
    test_cfg=dict(score_calibration=None),  # other images, other scores
)
people_root = '{{$PEOPLE_ROOT:data/people/}}'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(640, 480), ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CrowdDataset',
        data_root=people_root,
        ann_file='annotation_train.odgt',
        data_prefix=dict(img='Images/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(data_root=people_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=people_root + 'annotation_val.odgt')
test_evaluator = val_evaluator

max_epochs = 12
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(_delete_=True, type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type='ChannelsLastHook')]
