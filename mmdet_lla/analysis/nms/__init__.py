"""What NMS does to a detector: many settings tried on one pass of inference."""

from .raw import RawPredictions, collect_raw
from .settings import Setting, plan_settings
from .sweep import Trial, sweep

__all__ = ['RawPredictions', 'Setting', 'Trial', 'collect_raw', 'plan_settings', 'sweep']
