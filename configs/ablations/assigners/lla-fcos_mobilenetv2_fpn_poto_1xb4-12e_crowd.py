# LLAHead under POTO's assigner: one prior per gt.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type='POTOAssigner')))
