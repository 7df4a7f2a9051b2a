# LLAHead under POTO's assigner alone, which predicts without NMS.
_base_ = '../assigners/lla-fcos_mobilenetv2_fpn_poto_1xb4-12e_crowd.py'
model = dict(test_cfg=dict(nms=None))
