# LLAHead under RetinaNet's assigner, on one square anchor box a place.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
            ignore_iof_thr=-1)))
