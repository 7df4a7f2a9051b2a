"""Runs exported detectors; needs numpy, OpenCV, and ONNX Runtime or OpenVINO, no torch, no mmdet.

::

    from mmdet_lla.runtime import Detector, read_picture

    detector = Detector('lla.onnx')
    (found,) = detector([read_picture('photo.jpg')])
    found.boxes, found.scores, found.labels

Everything here imports only what lies in this folder, which may be copied by itself.
"""

from .detections import Detections
from .detector import Detector
from .pictures import BrokenPicture, read_picture

__all__ = ['BrokenPicture', 'Detections', 'Detector', 'read_picture']
