"""Error types of detections: every false positive and every false negative has exactly one.

A false positive is a detection that ``match_crowd`` labels FP, at any score. Detections inside an
ignore region are none. Its type is the first that applies (names of TIDE, arXiv 2008.08115, where
it has one):

- ``duplicate``: IoU above the threshold with a gt that another detection matched;
- ``merged``: covers more than half of each of at least two gts;
- ``localization``: IoU of 0.1 up to the threshold with a gt;
- ``body_part``: more than half of the detection lies inside a gt;
- ``ignore_region``: more than a tenth of it lies in an ignore region, but not enough to be ignored;
- ``background``: no gt is near.

A false negative is a gt that no detection of at least the score threshold matched. Its type is the
first that applies:

- ``matched_elsewhere``: a detection above both thresholds fits the gt, but matched another one;
- ``suppressed``: a raw prediction above both thresholds fits, but NMS removed it (this type
  needs the raw predictions);
- ``low_score``: a detection or raw prediction fits, but its score is below the threshold;
- ``missed``: none fits at any score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ...evaluation.matching import FP, TP, CrowdMatches, CrowdPairs, collect_pairs, match_crowd
from ...evaluation.overlaps import concat_boxes, find_overlapping_pairs, stack_image_sizes
from ...utils.boxes import box_area

FP_TYPES = ('duplicate', 'merged', 'localization', 'body_part', 'ignore_region', 'background')
FN_TYPES = ('matched_elsewhere', 'suppressed', 'low_score', 'missed')
DESCRIPTIONS = {
    'duplicate': 'second detection of a person',
    'merged': 'one box around two people or more',
    'localization': 'box does not fit, IoU 0.1 up to the threshold',
    'body_part': 'part of a person',
    'ignore_region': 'at an ignore region',
    'background': 'background or a look-alike',
    'matched_elsewhere': 'the detection that fits matched another person',
    'suppressed': 'predicted, but removed by NMS',
    'low_score': 'predicted, but with a score below the threshold',
    'missed': 'not predicted at any score',
}
MIN_LOCALIZATION_IOU = 0.1
MIN_IGNORE_IOA = 0.1
HALF = 0.5


@dataclass(frozen=True)
class Errors:
    """Errors in all images; detections and gts are numbered as in ``pairs``.

    Attributes:
        pairs (CrowdPairs): Overlaps with an IoU of at least 0.1.
        matches (CrowdMatches): Matches at the IoU threshold.
        score_thr (float): Detections of at least this score count.
        fp_type (np.ndarray): Index into ``FP_TYPES`` of each detection, -1 for others, int8,
            shape (D, ).
        fp_gt (np.ndarray): Gt of the largest IoU, or of the largest IoA for a body part; -1 for
            none, shape (D, ).
        fn_type (np.ndarray): Index into ``FN_TYPES`` of each gt, -1 if detected, int8, shape (G, ).
        matched_det (np.ndarray): Detection that matched each gt at any score, -1 for none, shape
            (G, ).
    """

    pairs: CrowdPairs
    matches: CrowdMatches
    score_thr: float
    fp_type: np.ndarray
    fp_gt: np.ndarray
    fn_type: np.ndarray
    matched_det: np.ndarray

    @property
    def iou_thr(self) -> float:
        return self.matches.iou_thr

    @property
    def is_shown(self) -> np.ndarray:
        """Whether each detection reaches the score threshold, bool, shape (D, )."""
        return self.pairs.det_score >= self.score_thr

    @property
    def is_tp(self) -> np.ndarray:
        """Whether each detection matched a gt, bool, shape (D, )."""
        is_tp = np.zeros(len(self.fp_type), bool)
        is_tp[self.matched_det[self.matched_det >= 0]] = True
        return is_tp

    def count_fps(self) -> dict[str, int]:
        """Count false positives of at least the score threshold by type."""
        return _count(self.fp_type[self.is_shown & (self.fp_type >= 0)], FP_TYPES)

    def count_fns(self, gt_mask: np.ndarray | None = None) -> dict[str, int]:
        """Count false negatives by type.

        Args:
            gt_mask (np.ndarray, optional): Gts to count, bool, shape (G, ). Defaults to all.
        """
        fn_type = self.fn_type if gt_mask is None else self.fn_type[gt_mask]
        return _count(fn_type[fn_type >= 0], FN_TYPES)

    def count_per_image(self) -> dict[str, np.ndarray]:
        """Count errors of each type in each image, by type, shape (P, ) each."""
        count, pairs = self.pairs.count_per_image, self.pairs
        fp_type = np.where(self.is_shown, self.fp_type, -1)
        fps = {name: count(pairs.det_image[fp_type == i]) for i, name in enumerate(FP_TYPES)}
        fns = {name: count(pairs.gt_image[self.fn_type == i]) for i, name in enumerate(FN_TYPES)}
        return fps | fns


def _count(types: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(types, minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def find_errors(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    score_thr: float,
    iou_thr: float = 0.5,
    raw: Sequence[CrowdDetections] | None = None,
) -> Errors:
    """Match detections and classify every error.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each image.
        detections (Sequence[CrowdDetections]): Detections of the same images in the same order.
        score_thr (float): Detections of at least this score count.
        iou_thr (float): IoU threshold in (0.1, 1). Defaults to 0.5.
        raw (Sequence[CrowdDetections], optional): Predictions before NMS, of the same images.

    Raises:
        ValueError: A threshold is out of range, or the images differ.

    Example:
        >>> gts = [CrowdAnnotation.create('a', [[0, 0, 10, 20]])]
        >>> boxes = [[0, 0, 10, 20], [0, 0, 10, 18], [50, 50, 60, 70]]
        >>> dets = [CrowdDetections.create('a', boxes, [0.9, 0.8, 0.7], 100, 100)]
        >>> {name: n for name, n in find_errors(gts, dets, 0.5).count_fps().items() if n}
        {'duplicate': 1, 'background': 1}
    """
    if not MIN_LOCALIZATION_IOU < iou_thr < 1:
        raise ValueError(
            f'iou_thr is {iou_thr}, expected a number between {MIN_LOCALIZATION_IOU} and 1'
        )
    if not np.isfinite(score_thr):
        raise ValueError(f'score_thr is {score_thr}, expected a finite number')
    pairs = collect_pairs(annotations, detections, min_iou=MIN_LOCALIZATION_IOU)
    matches = match_crowd(pairs, iou_thr)
    is_fp = matches.label_by_det() == FP
    fp_type, fp_gt = _classify_fps(annotations, detections, pairs, is_fp, iou_thr)

    is_tp = matches.label == TP
    matched_det = np.full(len(pairs.gt_image), -1, np.int64)
    matched_det[matches.gt[is_tp]] = matches.det[is_tp]
    fn_type = _classify_fns(pairs, matched_det, score_thr, iou_thr)
    if raw is not None:
        raw_pairs = collect_pairs(annotations, raw, min_iou=iou_thr)
        _apply_raw(fn_type, raw_pairs, score_thr, iou_thr)
    return Errors(pairs, matches, score_thr, fp_type, fp_gt, fn_type, matched_det)


def _classify_fps(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    pairs: CrowdPairs,
    is_fp: np.ndarray,
    iou_thr: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Type of each detection and the nearest gt, shape (D, ) each."""
    count = len(is_fp)
    best_iou, nearest_gt = _find_largest(pairs.pair_iou, pairs.pair_det, pairs.pair_gt, count)

    sizes = stack_image_sizes(detections)
    dets, det_starts = concat_boxes([one.boxes for one in detections], sizes)
    gts, gt_starts = concat_boxes([one.gt_bboxes for one in annotations], sizes)
    # A gt of less than a hundredth of the detection is too small to matter.
    det, gt, overlap = find_overlapping_pairs(dets, det_starts, gts, gt_starts, 0.01)
    best_ioa, enclosing_gt = _find_largest(overlap / box_area(dets)[det], det, gt, count)
    gt_fraction = overlap / np.maximum(box_area(gts)[gt], 1e-6)
    num_covered = np.bincount(det[gt_fraction > HALF], minlength=count)

    rules = (  # in the order of FP_TYPES
        best_iou > np.float32(iou_thr),
        num_covered >= 2,
        best_iou >= np.float32(MIN_LOCALIZATION_IOU),
        best_ioa > HALF,
        pairs.det_ignore_ioa > MIN_IGNORE_IOA,
        np.ones(count, bool),
    )
    fp_type = np.select(rules, np.arange(len(FP_TYPES))).astype(np.int8)
    fp_gt = np.where(nearest_gt >= 0, nearest_gt, enclosing_gt)
    fp_gt[fp_type >= FP_TYPES.index('ignore_region')] = -1
    fp_type[~is_fp] = -1
    fp_gt[~is_fp] = -1
    return fp_type, fp_gt


def _find_largest(
    values: np.ndarray, rows: np.ndarray, cols: np.ndarray, num_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest value of each row and its column, of equal ones the first; 0 and -1 for none."""
    best = np.zeros(num_rows, values.dtype)
    np.maximum.at(best, rows, values)
    at_best = np.flatnonzero(values == best[rows])[::-1]
    col = np.full(num_rows, -1, np.int64)
    col[rows[at_best]] = cols[at_best]
    return best, col


def _classify_fns(
    pairs: CrowdPairs, matched_det: np.ndarray, score_thr: float, iou_thr: float
) -> np.ndarray:
    """Type of each gt, shape (G, )."""
    close = pairs.pair_iou > np.float32(iou_thr)
    is_shown = pairs.det_score >= score_thr
    has_gt = np.zeros(len(is_shown), bool)
    has_gt[matched_det[matched_det >= 0]] = True
    det, gt = pairs.pair_det[close], pairs.pair_gt[close]
    fn_type = np.full(len(matched_det), FN_TYPES.index('missed'), np.int8)
    fn_type[gt] = FN_TYPES.index('low_score')
    # A shown detection that fits a false negative must have matched another gt.
    fn_type[gt[is_shown[det] & has_gt[det]]] = FN_TYPES.index('matched_elsewhere')
    detected = matched_det >= 0
    detected[detected] = is_shown[matched_det[detected]]
    fn_type[detected] = -1
    return fn_type


def _apply_raw(fn_type: np.ndarray, raw: CrowdPairs, score_thr: float, iou_thr: float) -> None:
    """Correct, in place, the types of gts that were predicted before NMS."""
    close = raw.pair_iou > np.float32(iou_thr)
    gt, score = raw.pair_gt[close], raw.det_score[raw.pair_det[close]]
    index = {name: i for i, name in enumerate(FN_TYPES)}
    predicted = np.zeros(len(fn_type), bool)
    predicted[gt] = True
    fn_type[(fn_type == index['missed']) & predicted] = index['low_score']
    above = np.zeros(len(fn_type), bool)
    above[gt[score >= score_thr]] = True
    fn_type[(fn_type == index['low_score']) & above] = index['suppressed']
