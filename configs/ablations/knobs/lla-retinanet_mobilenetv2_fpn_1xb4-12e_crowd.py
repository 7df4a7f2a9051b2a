# Anchor boxes in place of points.
_base_ = '../../demo/lla-retinanet_mobilenetv2_fpn_1xb4-12e_crowd.py'
