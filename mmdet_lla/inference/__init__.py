"""Detects people: images, videos and tiles in, detections out.

Imports torch and mmdet only when a model needs them; exported models do not.
"""

from ..runtime import BrokenImageError, Detections, read_image
from ..utils.threads import stop_spinning
from .loading import load_detector
from .predictor import Frame, Predictor, Result
from .tiles import Tiles

stop_spinning()  # torch is imported later

__all__ = [
    'BrokenImageError',
    'Detections',
    'Frame',
    'Predictor',
    'Result',
    'Tiles',
    'load_detector',
    'read_image',
]
