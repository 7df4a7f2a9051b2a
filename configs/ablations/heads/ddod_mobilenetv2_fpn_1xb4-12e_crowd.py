# DDOD's head and losses under its own assigners, on the demo's network, data and schedule.
_base_ = '../../demo/atss_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    type='DDOD',
    bbox_head=dict(type='DDODHead', use_dcn=False),
    train_cfg=dict(
        _delete_=True,
        assigner=dict(type='ATSSAssigner', topk=9, alpha=0.8),
        reg_assigner=dict(type='ATSSAssigner', topk=9, alpha=0.5),
        allowed_border=-1,
        pos_weight=-1,
    ),
)
