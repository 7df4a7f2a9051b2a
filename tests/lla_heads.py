"""Builds LLAHeads for tests."""

from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from mmdet_lla import LLAHead

#: Without layers of its own before the outputs; the fastest to build and to run.
TINY = dict(in_channels=4, feat_channels=4, stacked_convs=0, norm_cfg=None)


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
