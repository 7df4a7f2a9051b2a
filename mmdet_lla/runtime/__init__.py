"""Runs exported detectors with NumPy, OpenCV and ONNX Runtime or OpenVINO, without torch or mmdet.

::

    from mmdet_lla.runtime import Detector, read_image

    detector = Detector('lla.onnx')
    (found,) = detector([read_image('photo.jpg')])
    found.boxes, found.scores, found.labels

Everything here imports only what lies in this directory, which may be copied by itself.
"""

from .detections import Detections
from .detector import Detector
from .images import BrokenImageError, read_image

__all__ = ['BrokenImageError', 'Detections', 'Detector', 'read_image']
