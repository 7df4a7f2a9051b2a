# LLA.FCOS of arXiv 2101.04307 as released: network, assignment and inference.
_base_ = './r50-caffe_fpn_crowd.py'
model = dict(
    bbox_head=dict(
        _delete_=True,
        type='LLAHead',
        num_classes=1,
        in_channels=256,
        conv_bias=True,
        # The reference clips, and drops what is empty then, after NMS and the cut at 300.
        bbox_coder=dict(type='DistancePointBBoxCoder', clip_border=False),
    ),
    train_cfg=dict(_delete_=True, assigner=dict(type='LLAAssigner', topk=10, reg_weight=1.5)),
    test_cfg=dict(min_bbox_size=-1, clip_detections=True),
)
