# The released recipe's schedule: 28,125 iterations of 16 images are 30 epochs of CrowdHuman.
_base_ = '../lla_runtime.py'  # whose log and checkpoints count epochs

train_cfg = dict(type='IterBasedTrainLoop', max_iters=28125, val_interval=5625)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=28125,
        # The file of LLA itself says 24,735, those of its siblings 24,375: 26 of 30 epochs.
        milestones=[18750, 24375],
        gamma=0.1,
    ),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5625))
log_processor = dict(by_epoch=False)
