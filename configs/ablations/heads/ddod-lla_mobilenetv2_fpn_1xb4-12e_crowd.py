# DDODHead hands over anchor boxes and logits, once for each branch. LLA weighs the losses of both
# branches together, so the same assignment serves both.
_base_ = './ddod_mobilenetv2_fpn_1xb4-12e_crowd.py'
lla = dict(_delete_=True, type='LLAAssigner', prior_form='boxes')
model = dict(train_cfg=dict(assigner=lla, reg_assigner=lla))
