# LLA.FCOS on the people of COCO.
_base_ = [
    '../_base_/models/lla-fcos_r50-caffe_fpn_crowd.py',
    '../_base_/datasets/coco_person_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/lla_runtime.py',
]
# As for CrowdHuman: 0.01 for 16 images, no decay on normalization layers.
optim_wrapper = dict(optimizer=dict(lr=0.01), paramwise_cfg=dict(norm_decay_mult=0.0))
