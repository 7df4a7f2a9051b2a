# LLAHead under RetinaNet's assigner, with one anchor box per location in the shape of a person: a
# square one never reaches an IoU of 0.5 with a gt that is 2.4 times as tall as wide.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
            ignore_iof_thr=-1,
        ),
        assigner_view=dict(anchor_ratio=2.4),
    )
)
