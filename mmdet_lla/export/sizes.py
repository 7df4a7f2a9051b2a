"""The size rule of a test pipeline, for files that run without it."""

from __future__ import annotations

from mmengine.config import Config

from ..inference.model import image_pipeline
from ..runtime.images import SizeRule


def read_size_rule(cfg: Config) -> SizeRule:
    """Return how the test pipeline of a config resizes and pads an image.

    Raises:
        ValueError: The pipeline does more than resize, pad and pack.

    Example:
        >>> steps = [dict(type='Resize', scale=(640, 480), keep_ratio=True),
        ...          dict(type='PackDetInputs')]
        >>> read_size_rule(Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps))))).scale
        (640, 480)
    """
    values: dict = {}
    for step in image_pipeline(cfg):
        step = dict(step)
        kind = str(step.pop('type')).rpartition('.')[2]
        if kind == 'Resize' and not values:
            values.update(_read_resize(step))
        elif kind == 'Pad' and values:
            values.update(_read_pad(step))
        elif kind != 'PackDetInputs':
            raise ValueError(
                f'the test pipeline has {kind}, which is not exported; expected Resize and at '
                'most one Pad'
            )
    if not values:
        raise ValueError('the test pipeline has no Resize')
    return SizeRule(**values)


def _read_resize(step: dict) -> dict:
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


def _read_pad(step: dict) -> dict:
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
