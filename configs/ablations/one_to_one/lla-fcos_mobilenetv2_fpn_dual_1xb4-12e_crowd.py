# LLA teaches, and a one-to-one branch beside it predicts without NMS. From the same weights the
# head's own branches predict, with NMS, under --cfg-options model.test_cfg.one_to_one=False.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    bbox_head=dict(one_to_one=dict(stacked_convs=1)),
    train_cfg=dict(one_to_one=dict(assigner=dict(type='POTOAssigner'))),
)
