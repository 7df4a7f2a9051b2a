# The same on anchor boxes instead of points.
_base_ = './lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=1,
            ratios=[2.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        # Deltas, unlike distances, start from 0.
        init_cfg=dict(
            override=dict(_delete_=True, type='Normal', name='retina_cls', std=0.01, bias_prob=0.01)
        ),
    )
)
