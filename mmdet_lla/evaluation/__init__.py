"""Metrics for detection in crowds."""

from __future__ import annotations

from importlib import import_module

# Loaded on first use: the functions on arrays need neither mmdet nor torch.
_LAZY = {
    'CityPersonsMetric': 'citypersons_metric',
    'CrowdMetric': 'crowd_metric',
    'CrowdAnnotation': 'annotations',
    'CrowdDetections': 'annotations',
    'evaluate_citypersons': 'citypersons',
    'evaluate_crowd': 'crowd',
    'load_citypersons': 'citypersons',
    'load_odgt': 'annotations',
    'read_detections': 'detection_files',
}

__all__ = list(_LAZY)


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(f'.{_LAZY[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
