# FCOS, with the improvements its authors count in, under LLA's recipe.
_base_ = [
    '../_base_/models/r50-caffe_fpn_crowd.py',
    '../_base_/datasets/crowd_detection.py',
    '../_base_/schedules/schedule_30k.py',
]
model = dict(
    type='FCOS',
    bbox_head=dict(
        _delete_=True,
        type='FCOSHead',
        num_classes=1,
        in_channels=256,
        strides=[8, 16, 32, 64, 128],  # mmdet's default is one level finer than P3 to P7
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        conv_bias=True,
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
    ),
    train_cfg=None,
)
