"""An exported detector: pictures in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .detections import Detections
from .metadata import Metadata
from .pictures import check_picture
from .sessions import open_session


class Prepared(NamedTuple):
    """A picture as a detector wants it.

    Attributes:
        data: What goes into the detector.
        shape (tuple[int, ...]): Pictures of one shape may share a batch.
        height (int): Of the picture as it was.
        width (int): Of the picture as it was.
        factors (tuple[float, float]): By how much width and height were multiplied.
    """

    data: object
    shape: tuple[int, ...]
    height: int
    width: int
    factors: tuple[float, float]


class Detector:
    """Runs an exported file.

    Args:
        path (str | PathLike): ``.onnx`` or OpenVINO's ``.xml``, written by ``tools/export.py``.
        backend (str): 'onnxruntime', 'openvino' or 'auto'. Defaults to 'auto'.
        threads (int, optional): How many threads it may use. Defaults to the backend's choice.

    Attributes:
        metadata (Metadata): What the file says of itself.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: Neither backend is installed.
        ValueError: The file is not one of ours, or the backend does not read it.
    """

    def __init__(
        self, path: str | PathLike, backend: str = 'auto', threads: int | None = None
    ) -> None:
        path = Path(path)
        self.session = open_session(path, backend, threads)
        self.metadata = Metadata.loads(self.session.metadata, path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.metadata.classes

    @property
    def threshold(self) -> float | None:
        """The score that was best on validation, where the file knows it."""
        return self.metadata.threshold

    @property
    def metrics(self) -> dict[str, float]:
        """What the checkpoint reached on validation, where the file knows it."""
        return self.metadata.metrics

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect in pictures; those of one shape go through together.

        Args:
            images (Sequence[np.ndarray]): BGR, uint8, each (H, W, 3).

        Returns:
            list[Detections]: In the order of the pictures, all that the detector keeps.

        Raises:
            BrokenPicture: One of them is no such picture.
        """
        prepared = [self.prepare(image) for image in images]
        found: list = [None] * len(prepared)
        for shape in dict.fromkeys(one.shape for one in prepared):
            places = [i for i, one in enumerate(prepared) if one.shape == shape]
            for i, detections in zip(
                places, self.detect([prepared[i] for i in places]), strict=True
            ):
                found[i] = detections
        return found

    def prepare(self, image: np.ndarray) -> Prepared:
        """Resize a picture by the file's size rule."""
        resized, factors = self.metadata.size_rule.apply(check_picture(image))
        if self.metadata.rgb:
            resized = np.ascontiguousarray(resized[..., ::-1])
        return Prepared(resized, resized.shape, *image.shape[:2], factors)

    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """Detect in prepared pictures of one shape."""
        boxes, scores, labels = self.session.run(np.stack([one.data for one in batch]))
        return [self._detections(*row) for row in zip(batch, boxes, scores, labels, strict=True)]

    def _detections(
        self, one: Prepared, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
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
