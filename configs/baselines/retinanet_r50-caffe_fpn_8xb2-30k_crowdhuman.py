# RetinaNet under LLA's recipe, with anchor boxes as tall as people are.
_base_ = [
    '../_base_/models/r50-caffe_fpn_crowd.py',
    '../_base_/datasets/crowd_detection.py',
    '../_base_/schedules/schedule_30k.py',
]
model = dict(bbox_head=dict(anchor_generator=dict(ratios=[1.0, 2.0, 3.0])))
