"""Error analysis: the type of every error, the impact of each type, and the best threshold."""

from .impact import Impact, compute_impacts
from .report import analyze
from .thresholds import compute_calibration, compute_operating_points, find_best_thresholds
from .types import FN_TYPES, FP_TYPES, Errors, find_errors

__all__ = [
    'FN_TYPES',
    'FP_TYPES',
    'Errors',
    'Impact',
    'analyze',
    'compute_calibration',
    'compute_impacts',
    'compute_operating_points',
    'find_best_thresholds',
    'find_errors',
]
