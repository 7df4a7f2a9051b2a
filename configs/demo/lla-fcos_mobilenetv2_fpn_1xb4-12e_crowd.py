# LLA on a CPU: the paper's head and assignment on a small network and small pictures.
_base_ = [
    '../_base_/models/mobilenetv2_fpn_crowd.py', '../_base_/datasets/crowd_demo.py',
    '../_base_/schedules/schedule_demo.py'
]
model = dict(
    bbox_head=dict(
        _delete_=True,
        type='LLAHead',
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2),
    train_cfg=dict(_delete_=True, assigner=dict(type='LLAAssigner')))
