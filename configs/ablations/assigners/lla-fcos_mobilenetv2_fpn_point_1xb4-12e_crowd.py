# LLAHead under the assigner of RepPoints' first stage.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type='PointAssigner', scale=4, pos_num=1)))
