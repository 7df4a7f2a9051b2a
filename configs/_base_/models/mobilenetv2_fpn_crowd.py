# A detector small enough to train on a CPU: MobileNetV2, FPN of 96 channels.
_base_ = './r50-caffe_fpn_crowd.py'
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        frozen_stages=2,  # as detectors freeze a ResNet's first stage; halves the time
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(
            type='Pretrained', checkpoint='{{$MOBILENET_V2:weights/mobilenet_v2_imagenet.pth}}'
        ),
    ),
    neck=dict(in_channels=[32, 96, 320], out_channels=96, start_level=0),
    bbox_head=dict(in_channels=96, feat_channels=96, stacked_convs=2),
)
# mmdet's MobileNetV2 has a last layer that no detector uses, and freezes its stages only when
# training begins, after the processes have agreed on what they will share.
find_unused_parameters = True
