# LLA.FCOS on CityPersons.
_base_ = [
    '../_base_/models/r50-caffe_fpn_crowd.py',
    '../_base_/datasets/citypersons_detection.py',
    'mmdet::_base_/schedules/schedule_2x.py',
    '../_base_/lla_runtime.py',
]
model = dict(
    bbox_head=dict(_delete_=True, type='LLAHead', num_classes=1, in_channels=256, conv_bias=True),
    train_cfg=dict(_delete_=True, assigner=dict(type='LLAAssigner', topk=10, reg_weight=1.5)),
)
# As for CrowdHuman: 0.01 for 16 pictures, no decay on normalization layers.
optim_wrapper = dict(optimizer=dict(lr=0.01), paramwise_cfg=dict(norm_decay_mult=0.0))
