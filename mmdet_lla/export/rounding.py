"""Explain which differences between two detectors rounding causes.

Detectors whose numbers differ by rounding may differ by whole detections: a score next to
``score_thr``, an IoU next to the threshold of NMS, or two adjacent scores fall on either side. One
such decision of NMS changes others: a kept box suppresses the next, a suppressed one lets the next
stay. So detections are not compared one by one: all of them must be what NMS makes of the
checkpoint's candidates, where only decisions within rounding may differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..runtime import Detections
from ..utils.boxes import box_iou

#: Scores that differ by less than this, or from ``score_thr``, may end on either side.
SCORE_ROUNDING = 1e-5
#: IoUs that differ from the threshold of NMS by less than this may end on either side; the IoU of
#: the same two boxes differs by up to 5e-6 between mmdet and the files.
IOU_ROUNDING = 1e-5


@dataclass(frozen=True)
class NMSCandidates:
    """Input of a checkpoint's NMS in one image.

    Attributes:
        found (Detections): Best first, n of them, as they are shown if NMS keeps them.
        boxes (np.ndarray): As NMS sees them, ``(x1, y1, x2, y2)`` in pixels of the image, (n, 4).
        shown (np.ndarray): Whether they are shown if kept; boxes outside the image are not, (n, ).
        uncertain (np.ndarray): Whether rounding decides that they are candidates, (n, ).
        iou_threshold (float): NMS suppresses above it; infinite without NMS.
        class_agnostic (bool): Whether boxes of different classes suppress each other.
        limit (int, optional): Maximum number of kept boxes.
    """

    found: Detections
    boxes: np.ndarray
    shown: np.ndarray
    uncertain: np.ndarray
    iou_threshold: float
    class_agnostic: bool = False
    limit: int | None = None

    def compute_ious(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """IoU of boxes that may suppress each other, else 0; indices (n, ), (k, ) to (n, k)."""
        boxes, labels = self.boxes.astype(np.float64), self.found.labels
        ious = box_iou(boxes[rows], boxes[columns])
        if not self.class_agnostic:
            ious[labels[rows][:, None] != labels[columns]] = 0
        return ious


@dataclass(frozen=True)
class Flip:
    """A detection that only one of two detectors has, because of rounding.

    Attributes:
        reason (str): 'score' (next to ``score_thr``), 'overlap' (next to the threshold of NMS),
            'order' (of two adjacent scores), or 'follows' (from another of these).
        score (float): Its score.
        overlap (float): Of its IoUs with better detections of both detectors, the one nearest to
            the threshold of NMS; NaN where there is none.
    """

    reason: str
    score: float
    overlap: float


def explain(
    candidates: NMSCandidates, own: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, list[Flip]]:
    """Compare what two detectors keep of the same candidates.

    Args:
        candidates (NMSCandidates): n of them.
        own (np.ndarray): Those that the checkpoint keeps and shows, bool, (n, ).
        other (np.ndarray): Those of the other detector, bool, (n, ).

    Returns:
        tuple[np.ndarray, list[Flip]]: Where the other detector is wrong beyond rounding, bool,
        (n, ): it keeps a box that a better one of its own suppresses, or drops one that none does.
        And the differences that rounding explains.
    """
    scores, threshold = candidates.found.scores, candidates.iou_threshold
    kept = _add_hidden(candidates, other)
    indices = np.arange(len(scores))
    winners = np.flatnonzero(kept)
    ious = candidates.compute_ious(indices, winners)
    ious[winners, np.arange(len(winners))] = 0  # with itself
    last_score = -np.inf  # the limit cuts below it
    if candidates.limit is not None and len(winners) >= candidates.limit > 0:
        last_score = scores[winners[candidates.limit - 1]] + SCORE_ROUNDING
    better = winners < indices[:, None]
    no_worse = scores[winners] > scores[:, None] - SCORE_ROUNDING
    suppressed = (better & (ious > threshold + IOU_ROUNDING)).any(1)
    suppressible = (no_worse & (ious > threshold - IOU_ROUNDING)).any(1) | (scores < last_score)
    dropped = ~(kept | suppressible | candidates.uncertain)
    wrong = candidates.shown & ((kept & suppressed) | dropped)

    both = np.flatnonzero(own & other)
    mine = candidates.compute_ious(indices, both)
    mine[both > indices[:, None]] = 0
    flips = []
    for i in np.flatnonzero((own ^ other) & ~wrong):
        opponents = np.flatnonzero((own if other[i] else other) & (own ^ other))
        near = candidates.compute_ious(indices[[i]], opponents)[0] > threshold - IOU_ROUNDING
        tied = abs(scores[opponents] - scores[i]) < SCORE_ROUNDING
        tied &= near | (scores[i] < last_score)
        distance = abs(mine[i] - threshold)
        nearest = int(distance.argmin()) if distance.size and mine[i].max() > 0 else None
        reason = 'follows'
        if candidates.uncertain[i]:
            reason = 'score'
        elif nearest is not None and distance[nearest] <= IOU_ROUNDING:
            reason = 'overlap'
        elif tied.any():
            reason = 'order'
        overlap = np.nan if nearest is None else float(mine[i, nearest])
        flips.append(Flip(reason, float(scores[i]), overlap))
    return wrong, flips


def _add_hidden(candidates: NMSCandidates, kept: np.ndarray) -> np.ndarray:
    """Add the boxes outside the image that NMS keeps, although they are not shown."""
    kept = kept.copy()
    for i in np.flatnonzero(~candidates.shown):
        better = np.flatnonzero(kept[:i])
        ious = candidates.compute_ious(np.array([i]), better)
        kept[i] = not (ious > candidates.iou_threshold).any()
    return kept
