"""Exported detector: images in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .detections import Detections
from .images import to_bgr
from .metadata import Metadata
from .sessions import open_session


class PreparedImage(NamedTuple):
    """An image after the preprocessing of a detector.

    Attributes:
        data: Input of the detector.
        shape (tuple[int, ...]): Images of the same shape may share a batch.
        height (int): Height of the original image.
        width (int): Width of the original image.
        factors (tuple[float, float]): Scale factors of width and height.
    """

    data: object
    shape: tuple[int, ...]
    height: int
    width: int
    factors: tuple[float, float]


class Detector:
    """Runs an exported file on the CPU.

    Args:
        path (str | PathLike): ``.onnx`` or OpenVINO's ``.xml``, written by ``mmdet-lla export``.
        backend (str): 'onnxruntime', 'openvino' or 'auto'. Defaults to 'auto'.
        threads (int, optional): Number of compute threads. Defaults to the backend's choice.

    Attributes:
        metadata (Metadata): Classes, size rule and threshold that the file carries.

    Raises:
        FileNotFoundError: The file does not exist.
        ImportError: No backend that reads it is installed.
        ValueError: The file is damaged, or was not written by ``mmdet-lla export``.

    Example::

        detector = Detector('lla.onnx')
        (found,) = detector([read_image('photo.jpg')])
        found.boxes, found.scores
    """

    def __init__(
        self, path: str | PathLike, backend: str = 'auto', threads: int | None = None
    ) -> None:
        path = Path(path)
        self.session = open_session(path, backend, threads)
        self.metadata = Metadata.loads(self.session.metadata, path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.metadata.classes

    @property
    def threshold(self) -> float | None:
        """Score threshold chosen on the validation set, if the file has one."""
        return self.metadata.threshold

    @property
    def metrics(self) -> dict[str, float]:
        """Validation metrics of the checkpoint, if the file has them."""
        return self.metadata.metrics

    def __call__(self, images: Sequence) -> list[Detections]:
        """Detect in images; those with the same shape form a batch.

        Args:
            images (Sequence[np.ndarray | PIL.Image.Image]): See
                :func:`~mmdet_lla.runtime.images.to_bgr`.

        Returns:
            list[Detections]: Per image, all that the detector keeps.

        Raises:
            BrokenImageError: An image has an unsupported type or shape.
        """
        prepared = [self.prepare(image) for image in images]
        found: list = [None] * len(prepared)
        for shape in dict.fromkeys(one.shape for one in prepared):
            indices = [i for i, one in enumerate(prepared) if one.shape == shape]
            batch = self.detect([prepared[i] for i in indices])
            for i, detections in zip(indices, batch, strict=True):
                found[i] = detections
        return found

    def prepare(self, image) -> PreparedImage:
        """Convert an image to BGR and resize it by the file's size rule."""
        image = to_bgr(image)
        resized, factors = self.metadata.size_rule.apply(image)
        if self.metadata.rgb:
            resized = np.ascontiguousarray(resized[..., ::-1])
        return PreparedImage(resized, resized.shape, *image.shape[:2], factors)

    def detect(self, batch: Sequence[PreparedImage]) -> list[Detections]:
        """Detect in prepared images of the same shape."""
        boxes, scores, labels = self.session.run(np.stack([one.data for one in batch]))
        return [self._detections(*row) for row in zip(batch, boxes, scores, labels, strict=True)]

    def _detections(
        self, one: PreparedImage, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
    ) -> Detections:
        kept = labels >= 0
        return Detections(
            # as mmdet does: times the inverse, in float32
            boxes[kept] * (1 / np.array(one.factors * 2)).astype(np.float32),
            scores[kept],
            labels[kept].astype(np.int64),
            self.classes,
            one.height,
            one.width,
        )
