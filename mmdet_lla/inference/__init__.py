"""Finds people: pictures, videos and tiles in, detections out."""

from ..runtime import BrokenPicture, Detections, read_picture
from .model import load_detector
from .predictor import Frame, Predictor, Result
from .tiles import Tiles

__all__ = [
    'BrokenPicture',
    'Detections',
    'Frame',
    'Predictor',
    'Result',
    'Tiles',
    'load_detector',
    'read_picture',
]
