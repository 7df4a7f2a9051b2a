# LLA.RetinaNet: the same assignment and losses on the anchor boxes of the RetinaNet baseline.
# The authors report it but never released it; its anchor boxes are ours.
_base_ = './lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py'
model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[1.0, 2.0, 3.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
    )
)
