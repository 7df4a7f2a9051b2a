# The dual head whose one-to-one branch trains the towers too.
_base_ = './lla-fcos_mobilenetv2_fpn_dual_1xb4-12e_crowd.py'
model = dict(bbox_head=dict(one_to_one=dict(detach=False)))
