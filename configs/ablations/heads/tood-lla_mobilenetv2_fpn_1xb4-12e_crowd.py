# TOODHead hands over anchor boxes and probabilities, and asks for metrics besides. LLA needs no
# other assigner to begin with.
_base_ = './tood_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(initial_epoch=0, assigner=dict(_delete_=True, type='TaskAlignedLLAAssigner'))
)
