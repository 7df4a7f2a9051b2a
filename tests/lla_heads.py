"""Builds LLAHeads for tests."""

from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from mmdet_lla import LLAHead

#: Without layers of its own before the outputs; the fastest to build and to run.
TINY = dict(in_channels=4, feat_channels=4, stacked_convs=0, norm_cfg=None)


#: Every known assigner, with mmdet's usual arguments.
ASSIGNERS = {
    cfg['type']: cfg
    for cfg in (
        dict(type='LLAAssigner'),
        dict(type='OTAAssigner'),
        dict(type='POTOAssigner'),
        dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, ignore_iof_thr=0.5),
        dict(type='ATSSAssigner', topk=9, ignore_iof_thr=0.5),
        dict(type='SimOTAAssigner'),
        dict(type='DynamicSoftLabelAssigner'),
        dict(type='TaskAlignedAssigner', topk=13),
        dict(type='PointAssigner', pos_num=1),
        dict(type='CenterRegionAssigner', pos_scale=0.2, neg_scale=0.4),
        dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='FocalLossCost', weight=2.0),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                dict(type='IoUCost', weight=2.0),
            ],
        ),
    )
}


def point_generator(*strides: int, offset: float = 0) -> dict:
    """Return the config of priors that are points."""
    return dict(type='MlvlPointGenerator', offset=offset, strides=list(strides))


def build_head(**kwargs) -> LLAHead:
    """Build a small head; arguments replace the defaults, also ``train_cfg`` as a whole."""
    cfg = dict(
        type='LLAHead',
        num_classes=1,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        train_cfg=dict(assigner=dict(type='LLAAssigner')),
    )
    cfg.update(kwargs)
    for name in ('train_cfg', 'test_cfg'):
        cfg[name] = ConfigDict(cfg.get(name) or {})
    return MODELS.build(cfg)
