"""The size rule of a test pipeline, for those that run a detector without it."""

from __future__ import annotations

from mmengine.config import Config

from ..inference.model import picture_pipeline
from ..runtime.pictures import SizeRule


def size_rule(cfg: Config) -> SizeRule:
    """What the test pipeline of a config does to a picture.

    Raises:
        ValueError: It does something else than to resize, to pad and to pack.
    """
    values: dict = {}
    for step in picture_pipeline(cfg):
        step = dict(step)
        kind = str(step.pop('type')).rpartition('.')[2]
        if kind == 'Resize' and not values:
            values.update(_resize(step))
        elif kind == 'Pad' and values:
            values.update(_pad(step))
        elif kind != 'PackDetInputs':
            raise ValueError(
                f'the test pipeline has {kind}, which is not exported; expected Resize, then Pad '
                'or none'
            )
    if not values:
        raise ValueError('the test pipeline has no Resize')
    return SizeRule(**values)


def _resize(step: dict) -> dict:
    scale = step.get('scale')
    if scale is None:
        raise ValueError('Resize of the test pipeline has no scale; only that is exported')
    scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
    return dict(
        scale=scale,
        keep_ratio=bool(step.get('keep_ratio', False)),
        backend=step.get('backend', 'cv2'),
        interpolation=step.get('interpolation', 'bilinear'),
    )


def _pad(step: dict) -> dict:
    value = step.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, dict) else value
    value = (value,) * 3 if isinstance(value, (int, float)) else tuple(value)
    size = step.get('size')
    return dict(
        pad_size=None if size is None else tuple(size),
        pad_square=bool(step.get('pad_to_square', False)),
        pad_divisor=step.get('size_divisor') or 1,
        pad_value=value,
    )
