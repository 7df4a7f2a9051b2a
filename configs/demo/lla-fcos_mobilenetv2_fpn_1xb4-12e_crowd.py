# LLA on a CPU: the paper's head and assignment on a small network and small images.
_base_ = [
    '../_base_/models/mobilenetv2_fpn_crowd.py',
    '../_base_/datasets/crowd_demo.py',
    '../_base_/schedules/schedule_demo.py',
]
model = dict(
    bbox_head=dict(
        _delete_=True,
        type='LLAHead',
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        # Boxes start as squares of 8 strides, as ATSS's anchors do; from none, as in the paper,
        # they take longer to grow than a training of minutes lasts.
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
)
