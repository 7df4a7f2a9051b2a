# What all recipes share: R-50 caffe style, FPN with P6 and P7 made from P5, one class,
# 300 detections per image.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
model = dict(
    data_preprocessor=dict(mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe'),
    ),
    neck=dict(add_extra_convs='on_output', relu_before_extra_convs=True),
    bbox_head=dict(num_classes=1),
    test_cfg=dict(score_thr=0.05, nms=dict(iou_threshold=0.6), max_per_img=300),
)
