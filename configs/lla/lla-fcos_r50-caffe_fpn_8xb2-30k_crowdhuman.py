# LLA.FCOS: the released recipe of arXiv 2101.04307.
_base_ = [
    '../_base_/models/lla-fcos_r50-caffe_fpn_crowd.py',
    '../_base_/datasets/crowd_detection.py',
    '../_base_/schedules/schedule_30k.py',
]
