"""What a detector found in a picture, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Detections of one picture or frame, best first.

    Attributes:
        boxes (np.ndarray): ``(x1, y1, x2, y2)`` in pixels of the picture, float32, shape (n, 4).
        scores (np.ndarray): float32, shape (n, ).
        labels (np.ndarray): Places in ``classes``, int64, shape (n, ).
        classes (tuple[str]): Names of the classes.
        height (int): Height of the picture.
        width (int): Width of the picture.
        ids (np.ndarray, optional): Identities in a video, -1 where there is none yet, int64,
            shape (n, ). None where nothing was tracked.
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

    def select(self, which: np.ndarray) -> Detections:
        """Some of them.

        Args:
            which (np.ndarray): A mask (n, ) or places (m, ).
        """
        ids = None if self.ids is None else self.ids[which]
        return replace(
            self,
            boxes=self.boxes[which],
            scores=self.scores[which],
            labels=self.labels[which],
            ids=ids,
        )

    def above(self, threshold: float) -> Detections:
        """Those whose score is at least ``threshold``."""
        return self.select(self.scores >= threshold)

    def names(self) -> list[str]:
        """Name of every detection's class."""
        return [self.classes[label] for label in self.labels]

    def records(self) -> list[dict]:
        """One plain dict a detection: box, score, label, class, and id where tracked."""
        rows = zip(
            self.boxes.tolist(),
            self.scores.tolist(),
            self.labels.tolist(),
            self.names(),
            strict=True,
        )
        records = [
            {
                'box': [round(x, 2) for x in box],
                'score': round(score, 4),
                'label': label,
                'class': name,
            }
            for box, score, label, name in rows
        ]
        if self.ids is not None:
            for record, identity in zip(records, self.ids.tolist(), strict=True):
                record['id'] = identity
        return records

    def to_supervision(self):
        """The same as ``supervision.Detections``, for its annotators, trackers and zones."""
        import supervision as sv

        return sv.Detections(
            xyxy=self.boxes.astype(np.float32).reshape(-1, 4),
            confidence=self.scores,
            class_id=self.labels.astype(int),
            tracker_id=None if self.ids is None else self.ids.astype(int),
            data={'class_name': np.array(self.names(), dtype=object)},
        )
