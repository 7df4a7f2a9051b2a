# LLAHead under FSAF's assigner.
_base_ = '../../demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='CenterRegionAssigner',
            pos_scale=0.2,
            neg_scale=0.2,
            min_pos_iof=0.01,
        )
    )
)
