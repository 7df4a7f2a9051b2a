# LLA.FCOS: the released recipe of arXiv 2101.04307.
_base_ = [
    '../_base_/models/r50-caffe_fpn_crowd.py',
    '../_base_/datasets/crowd_detection.py',
    '../_base_/schedules/schedule_30k.py',
]
model = dict(
    bbox_head=dict(_delete_=True, type='LLAHead', num_classes=1, in_channels=256, conv_bias=True),
    train_cfg=dict(_delete_=True, assigner=dict(type='LLAAssigner', topk=10, reg_weight=1.5)),
)
