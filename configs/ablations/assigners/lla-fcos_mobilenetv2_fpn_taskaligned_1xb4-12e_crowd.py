# LLAHead under TOOD's assigner, from the first step on.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type='TaskAlignedAssigner', topk=13)))
