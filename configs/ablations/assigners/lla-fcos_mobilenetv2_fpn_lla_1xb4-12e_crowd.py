# LLAHead under its own assigner, what the others here are compared with.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
