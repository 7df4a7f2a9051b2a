"""Which of two detectors' differences rounding explains, where one threshold decides.

Two detectors whose numbers differ by rounding may still differ by whole detections: a score beside
``score_thr``, an overlap beside the threshold of NMS, or two scores beside each other fall on
either side. One such decision of NMS has others follow: who stays takes away the next, who falls
lets the next stay. So detections are not looked at one by one: all of them must be what NMS makes
of the checkpoint's candidates, where only decisions within rounding may be the other way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..runtime import Detections
from ..utils.boxes import box_iou

#: Scores that differ by less than this, or from ``score_thr``, may end on either side.
SCORE_ROUNDING = 1e-5
#: Overlaps that differ from the threshold of NMS by less than this may end on either side; the
#: same two boxes differ by up to 5e-6 between mmdet and the files.
OVERLAP_ROUNDING = 1e-5


@dataclass(frozen=True)
class Candidates:
    """What NMS of a checkpoint chooses from in one picture.

    Attributes:
        found (Detections): Best first, n of them, as they would be shown if NMS kept them.
        boxes (np.ndarray): As NMS sees them, ``(x1, y1, x2, y2)`` in pixels of the picture, (n, 4).
        shown (np.ndarray): Whether they would be; those outside the picture may not, (n, ).
        doubtful (np.ndarray): Whether rounding decides that they are candidates, (n, ).
        iou_threshold (float): Above it the worse of two falls; infinite without NMS.
        class_agnostic (bool): Whether those of different classes count as rivals.
        limit (int, optional): Most that are kept.
    """

    found: Detections
    boxes: np.ndarray
    shown: np.ndarray
    doubtful: np.ndarray
    iou_threshold: float
    class_agnostic: bool = False
    limit: int | None = None

    def overlaps(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """IoU of rivals, 0 of others, float64; places (n, ) and (k, ) to (n, k)."""
        boxes, labels = self.boxes.astype(np.float64), self.found.labels
        found = box_iou(boxes[rows], boxes[columns])
        if not self.class_agnostic:
            found[labels[rows][:, None] != labels[columns]] = 0
        return found


@dataclass(frozen=True)
class Flip:
    """A detection that rounding gives to one of two detectors only.

    Attributes:
        reason (str): 'score' (beside ``score_thr``), 'overlap' (beside the threshold of NMS),
            'order' (of two scores beside each other), or 'follows' (from another of these).
        score (float): Its score.
        overlap (float): Its IoU that is nearest to the threshold of NMS with a better detection
            of both; NaN where there is none.
    """

    reason: str
    score: float
    overlap: float


def explain(
    candidates: Candidates, own: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, list[Flip]]:
    """Compare what two detectors keep of the same candidates.

    Args:
        candidates (Candidates): n of them.
        own (np.ndarray): Those that the checkpoint keeps and shows, bool, (n, ).
        other (np.ndarray): Those of the other detector, bool, (n, ).

    Returns:
        tuple[np.ndarray, list[Flip]]: Where the other one is wrong beyond rounding, bool, (n, ):
        it keeps what a better one of its own takes away, or leaves out what none does. And what
        rounding explains.
    """
    scores, threshold = candidates.found.scores, candidates.iou_threshold
    kept = _with_hidden(candidates, other)
    places = np.arange(len(scores))
    winners = np.flatnonzero(kept)
    overlaps = candidates.overlaps(places, winners)
    overlaps[winners, np.arange(len(winners))] = 0  # with itself
    last = -np.inf  # score under which the limit cuts
    if candidates.limit is not None and len(winners) >= candidates.limit > 0:
        last = scores[winners[candidates.limit - 1]] + SCORE_ROUNDING
    better = winners < places[:, None]
    no_worse = scores[winners] > scores[:, None] - SCORE_ROUNDING
    clashes = kept & (better & (overlaps > threshold + OVERLAP_ROUNDING)).any(1)
    falls = (no_worse & (overlaps > threshold - OVERLAP_ROUNDING)).any(1) | (scores < last)
    wrong = candidates.shown & (clashes | ~(kept | falls | candidates.doubtful))

    mine = candidates.overlaps(places, np.flatnonzero(own & other))
    mine[np.flatnonzero(own & other) > places[:, None]] = 0
    flips = []
    for i in np.flatnonzero((own ^ other) & ~wrong):
        rivals = np.flatnonzero((own if other[i] else other) & (own ^ other))
        near = candidates.overlaps(places[[i]], rivals)[0] > threshold - OVERLAP_ROUNDING
        tied = (near | (scores[i] < last)) & (abs(scores[rivals] - scores[i]) < SCORE_ROUNDING)
        apart = abs(mine[i] - threshold)
        nearest = int(apart.argmin()) if apart.size and mine[i].max() > 0 else None
        reason = 'follows'
        if candidates.doubtful[i]:
            reason = 'score'
        elif nearest is not None and apart[nearest] <= OVERLAP_ROUNDING:
            reason = 'overlap'
        elif tied.any():
            reason = 'order'
        overlap = np.nan if nearest is None else float(mine[i, nearest])
        flips.append(Flip(reason, float(scores[i]), overlap))
    return wrong, flips


def _with_hidden(candidates: Candidates, kept: np.ndarray) -> np.ndarray:
    """Those that are kept, and those outside the picture that NMS then keeps, too."""
    kept = kept.copy()
    for i in np.flatnonzero(~candidates.shown):
        better = np.flatnonzero(kept[:i])
        overlaps = candidates.overlaps(np.array([i]), better)
        kept[i] = not (overlaps > candidates.iou_threshold).any()
    return kept
