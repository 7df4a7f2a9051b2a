"""NMS sweep: many NMS settings on one pass of inference."""

from .raw import RawPredictions, collect_raw_predictions
from .sweep import NMSSetting, Trial, evaluate_settings, find_best_trials, plan_settings

__all__ = [
    'NMSSetting',
    'RawPredictions',
    'Trial',
    'collect_raw_predictions',
    'find_best_trials',
    'plan_settings',
    'evaluate_settings',
]
