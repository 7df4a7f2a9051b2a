# Without the IoU branch: not trained, and its score 1 throughout, so that detections rank by class
# alone.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    bbox_head=dict(
        loss_iou=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.0),
        init_cfg=dict(
            override=[
                *_base_.model.bbox_head.init_cfg.override,  # noqa: F821
                dict(type='Constant', name='retina_iou', val=0, bias=20),
            ]
        ),
    )
)
