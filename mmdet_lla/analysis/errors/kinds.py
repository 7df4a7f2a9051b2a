"""One kind for every false alarm and every miss.

A false alarm is a detection that found nobody under the rules of the metric (``match_crowd``), at
any score; those that an ignore region excuses are none. Its kind is the first that holds:

- ``duplicate``: IoU above the threshold with somebody, whom another detection found;
- ``merged``: covers more than half of each of two people or more;
- ``loose``: IoU of 0.1 up to the threshold with somebody: too loose, or too tight;
- ``part``: more than half of it lies in somebody: a part of a person;
- ``ignore``: more than a tenth of it lies in an ignore region: at one, or in, but not by enough;
- ``background``: nobody is there: a look-alike, or background.

A miss is a person whom no detection of at least the score threshold found. Its kind is the first:

- ``taken``: a detection above both thresholds fits it, but found somebody else;
- ``suppressed``: a raw prediction above both thresholds fits it, but NMS removed it (this needs the
  raw predictions);
- ``low``: a detection, or a raw prediction, fits it, with too low a score;
- ``never``: none fits it at any score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections, clip_boxes
from ...evaluation.matching import HIT, MISS, CrowdMatches, CrowdPairs, collect_pairs, match_crowd
from ...evaluation.overlaps import lay_out, pairs_above
from ...utils.boxes import box_area

FALSE_ALARMS = ('duplicate', 'merged', 'loose', 'part', 'ignore', 'background')
MISSES = ('taken', 'suppressed', 'low', 'never')
MEANINGS = {
    'duplicate': 'a second detection of a person',
    'merged': 'two people in one box',
    'loose': 'a box too loose or too tight, IoU 0.1 to the threshold',
    'part': 'a part of a person',
    'ignore': 'at an ignore region',
    'background': 'a look-alike, or background',
    'taken': 'the box that fits found somebody else',
    'suppressed': 'proposed, but removed by NMS',
    'low': 'proposed, but with too low a score',
    'never': 'never proposed',
}
LOOSE_IOU = 0.1
AT_IGNORE = 0.1
HALF = 0.5


@dataclass(frozen=True)
class Errors:
    """Errors of all pictures; detections and people are numbered as in ``pairs``.

    Attributes:
        pairs (CrowdPairs): Overlaps from an IoU of 0.1 on.
        matches (CrowdMatches): At the IoU threshold.
        score_thr (float): Above which detections count as shown.
        alarm (np.ndarray): Index into ``FALSE_ALARMS`` of each detection, -1 if it is none, int8,
            shape (D, ).
        alarm_gt (np.ndarray): The person concerned: of the largest IoU, or share for a part; -1 for
            none, shape (D, ).
        miss (np.ndarray): Index into ``MISSES`` of each person, -1 if found, int8, shape (G, ).
        found_by (np.ndarray): Detection that found each person at any score, -1 for none, (G, ).
    """

    pairs: CrowdPairs
    matches: CrowdMatches
    score_thr: float
    alarm: np.ndarray
    alarm_gt: np.ndarray
    miss: np.ndarray
    found_by: np.ndarray

    @property
    def iou_thr(self) -> float:
        return self.matches.iou_thr

    def alarm_counts(self) -> dict[str, int]:
        """False alarms of each kind at scores of at least the threshold."""
        shown = (self.pairs.det_score >= self.score_thr) & (self.alarm >= 0)
        return _count(self.alarm[shown], FALSE_ALARMS)

    def miss_counts(self, people: np.ndarray | None = None) -> dict[str, int]:
        """Misses of each kind.

        Args:
            people (np.ndarray, optional): Which people, bool, shape (G, ). Defaults to all.
        """
        miss = self.miss if people is None else self.miss[people]
        return _count(miss[miss >= 0], MISSES)


def _count(kinds: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(kinds, minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def find_errors(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    score_thr: float,
    iou_thr: float = 0.5,
    raw: Sequence[CrowdDetections] | None = None,
) -> Errors:
    """Match, and name every error.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture.
        detections (Sequence[CrowdDetections]): Of the same pictures in the same order.
        score_thr (float): Detections of at least this score count as shown.
        iou_thr (float): In (0.1, 1). Defaults to 0.5.
        raw (Sequence[CrowdDetections], optional): What came before NMS, of the same pictures.

    Raises:
        ValueError: A threshold is out of range, or the pictures do not agree.
    """
    if not LOOSE_IOU < iou_thr < 1:
        raise ValueError(f'iou_thr is {iou_thr}, expected a number between {LOOSE_IOU} and 1')
    if not np.isfinite(score_thr):
        raise ValueError(f'score_thr is {score_thr}, expected a finite number')
    pairs = collect_pairs(annotations, detections, min_iou=LOOSE_IOU)
    matches = match_crowd(pairs, iou_thr)
    label = np.empty(len(pairs.det_score), np.int8)
    label[matches.det] = matches.label
    alarm, alarm_gt = _alarms(annotations, detections, pairs, label == MISS, iou_thr)

    hit = matches.label == HIT
    found_by = np.full(len(pairs.gt_picture), -1, np.int64)
    found_by[matches.gt[hit]] = matches.det[hit]
    miss = _misses(pairs, found_by, score_thr, iou_thr)
    if raw is not None:
        _look_at_raw(miss, collect_pairs(annotations, raw, min_iou=iou_thr), score_thr, iou_thr)
    return Errors(pairs, matches, score_thr, alarm, alarm_gt, miss, found_by)


def _alarms(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    pairs: CrowdPairs,
    false: np.ndarray,
    iou_thr: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Kind of each detection, and the person concerned, shape (D, ) each."""
    count = len(false)
    best_iou, best_gt = _largest(pairs.pair_iou, pairs.pair_det, pairs.pair_gt, count)
    det, gt, of_det, of_gt = _shares(annotations, detections)
    share, inside = _largest(of_det, det, gt, count)
    covered = np.bincount(det[of_gt > HALF], minlength=count)
    rules = (
        best_iou > np.float32(iou_thr),
        covered >= 2,
        best_iou >= np.float32(LOOSE_IOU),
        share > HALF,
        pairs.det_ignored > AT_IGNORE,
        np.ones(count, bool),
    )
    alarm = np.select(rules, np.arange(len(FALSE_ALARMS))).astype(np.int8)
    alarm_gt = np.where(best_gt >= 0, best_gt, inside)
    alarm_gt[alarm >= FALSE_ALARMS.index('ignore')] = -1
    alarm[~false] = -1
    alarm_gt[~false] = -1
    return alarm, alarm_gt


def _shares(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that share something: detection, person, and which part of each is shared."""
    size = np.array([(d.width, d.height) for d in detections]).reshape(-1, 2)

    def clipped(parts: list) -> tuple[np.ndarray, np.ndarray]:
        boxes, at = lay_out(parts)
        return clip_boxes(boxes, np.repeat(size, np.diff(at), axis=0)), at

    dets, det_at = clipped([detection.boxes for detection in detections])
    gts, gt_at = clipped([annotation.boxes[~annotation.ignored] for annotation in annotations])
    # A person of less than a hundredth of the box is too small to be told from the rest of it.
    det, gt, shared = pairs_above(dets, det_at, gts, gt_at, 0.01)
    return det, gt, shared / box_area(dets)[det], shared / np.maximum(box_area(gts)[gt], 1e-6)


def _largest(
    values: np.ndarray, rows: np.ndarray, cols: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest value of each row and its column, of equal ones the first; 0 and -1 for none."""
    best = np.zeros(count, values.dtype)
    np.maximum.at(best, rows, values)
    at_best = np.flatnonzero(values == best[rows])[::-1]
    col = np.full(count, -1, np.int64)
    col[rows[at_best]] = cols[at_best]
    return best, col


def _misses(
    pairs: CrowdPairs, found_by: np.ndarray, score_thr: float, iou_thr: float
) -> np.ndarray:
    """Kind of each person, shape (G, )."""
    close = pairs.pair_iou > np.float32(iou_thr)
    shown = pairs.det_score >= score_thr
    holds = np.zeros(len(shown), bool)
    holds[found_by[found_by >= 0]] = True
    det, gt = pairs.pair_det[close], pairs.pair_gt[close]
    miss = np.full(len(found_by), MISSES.index('never'), np.int8)
    miss[gt] = MISSES.index('low')
    # Of those who are missed, a detection that is shown and close found somebody else.
    miss[gt[shown[det] & holds[det]]] = MISSES.index('taken')
    found = found_by >= 0
    found[found] = shown[found_by[found]]
    miss[found] = -1
    return miss


def _look_at_raw(miss: np.ndarray, raw: CrowdPairs, score_thr: float, iou_thr: float) -> None:
    """Tell, in place, who was proposed before NMS from who was not."""
    close = raw.pair_iou > np.float32(iou_thr)
    gt, score = raw.pair_gt[close], raw.det_score[raw.pair_det[close]]
    names = {name: MISSES.index(name) for name in MISSES}
    proposed = np.zeros(len(miss), bool)
    proposed[gt] = True
    miss[(miss == names['never']) & proposed] = names['low']
    above = np.zeros(len(miss), bool)
    above[gt[score >= score_thr]] = True
    miss[(miss == names['low']) & above] = names['suppressed']
