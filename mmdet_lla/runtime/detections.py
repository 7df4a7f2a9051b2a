"""The detections of one image, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Detections of one image or frame, in descending order of score.

    Attributes:
        boxes (np.ndarray): ``(x1, y1, x2, y2)`` in pixels of the image, float32, shape (n, 4).
        scores (np.ndarray): float32, shape (n, ).
        labels (np.ndarray): Indices into ``classes``, int64, shape (n, ).
        classes (tuple[str]): Class names.
        height (int): Height of the image.
        width (int): Width of the image.
        ids (np.ndarray, optional): Track IDs in a video, -1 for detections without a track, int64,
            shape (n, ). None without tracking.

    Example:
        >>> found = Detections(
        ...     boxes=np.array([[0, 0, 20, 50], [30, 0, 50, 40]], np.float32),
        ...     scores=np.array([0.9, 0.2], np.float32),
        ...     labels=np.array([0, 0]),
        ...     classes=('person',),
        ...     height=60,
        ...     width=80,
        ... )
        >>> len(found), found.above(0.5).records()[0]['box'], found.names()
        (2, [0.0, 0.0, 20.0, 50.0], ['person', 'person'])
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    height: int
    width: int
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: np.ndarray) -> Detections:
        """Return a subset, by a mask (n, ) or by indices (m, )."""
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            ids=None if self.ids is None else self.ids[index],
        )

    def above(self, threshold: float) -> Detections:
        """Return the detections whose score is at least ``threshold``."""
        return self.select(self.scores >= threshold)

    def names(self) -> list[str]:
        """Return the class name of each detection."""
        return [self.classes[label] for label in self.labels]

    def records(self) -> list[dict]:
        """Return one dict per detection: box, score, label, class, and id if tracked."""
        records = [
            {
                'box': [round(x, 2) for x in box],
                'score': round(score, 4),
                'label': label,
                'class': self.classes[label],
            }
            for box, score, label in zip(
                self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True
            )
        ]
        if self.ids is not None:
            for record, track_id in zip(records, self.ids.tolist(), strict=True):
                record['id'] = track_id
        return records

    def to_supervision(self):
        """Convert to ``supervision.Detections``, for its annotators, trackers and zones."""
        import supervision as sv

        return sv.Detections(
            xyxy=self.boxes.astype(np.float32).reshape(-1, 4),
            confidence=self.scores,
            class_id=self.labels.astype(int),
            tracker_id=None if self.ids is None else self.ids.astype(int),
            data={'class_name': np.array(self.names(), dtype=object)},
        )
