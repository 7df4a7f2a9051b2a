# 10 priors a box and weight 1.5 of the box cost: LLA itself, what the others are compared with.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
