# The second part of lla-s, from the weights of the first (load_from, see README.md): a dynamic K
# and candidates near the center of a box rank tall people higher (docs/results/study.md).
_base_ = './lla-s_mobilenetv2_fpn_1xb4-14k_crowd.py'
model = dict(
    train_cfg=dict(assigner=dict(topk='dynamic', candidates='center', prior_form='points')),
    # The calibration was fitted on the earlier part of the street, which no test uses.
    test_cfg=dict(nms=dict(iou_threshold=0.6), score_calibration=(4.61, -1.952)),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(576, 432), keep_ratio=True),
    *_base_.test_pipeline[2:],  # noqa: F821
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_dataloader = dict(
    dataset=dict(
        datasets=[
            *_base_.train_dataloader.dataset.datasets[:2],  # noqa: F821
            dict(
                type='RepeatDataset',
                times=4,
                dataset=dict(_base_.wide, data_root=_base_.near_root),  # noqa: F821
            ),
        ]
    )
)

max_iters = 7000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, eta_min_ratio=0.01),
]
