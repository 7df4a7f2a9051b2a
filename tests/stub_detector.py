"""A detector without a network, and the predict command with it: python stub_detector.py ARGS."""

import os
import resource
import sys
import time

import numpy as np

from mmdet_lla.cli.predict import main
from mmdet_lla.inference import predictor
from mmdet_lla.runtime import Detections
from mmdet_lla.runtime.detector import PreparedImage


class StubDetector:
    """Finds one person in the middle of every image, with its mean brightness / 255 as score."""

    classes, threshold, metrics = ('person',), 0.0, {}

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def prepare(self, image) -> PreparedImage:
        height, width = image.shape[:2]
        if height == 1:
            raise RuntimeError('no pixels left\nafter resizing')
        return PreparedImage(image, image.shape, height, width, (1.0, 1.0))

    def detect(self, batch) -> list[Detections]:
        time.sleep(self.seconds)
        if any(one.width == 13 for one in batch):
            raise RuntimeError('unlucky')
        return [
            Detections(
                np.array([[0.25, 0.25, 0.75, 0.75]], np.float32) * ([one.width, one.height] * 2),
                np.array([one.data.mean() / 255], np.float32),
                np.zeros(1, np.int64),
                self.classes,
                one.height,
                one.width,
            )
            for one in batch
        ]


if __name__ == '__main__':
    if limit := int(os.environ.get('STUB_MAX_FILE_SIZE', 0)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    stub = StubDetector(float(os.environ.get('STUB_SECONDS', 0)))
    predictor.load_detector = lambda *args: stub
    status = main(sys.argv[1:])
    heavy = {'torch', 'mmdet', 'mmengine', 'mmcv', 'scipy', 'supervision', 'matplotlib'}
    print('imported:', sorted(heavy & set(sys.modules)))
    sys.exit(status)
