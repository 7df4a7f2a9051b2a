"""Jaccard index of a crowd: how well detections and gts pair up one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from .matching import CrowdPairs

SCORE_THRESHOLDS = tuple(0.1 * i for i in range(10))
# Pairs in one call of the matching: enough to hide the cost of a call, few enough that its passes
# stay in the cache.
PAIRS_PER_CALL = 20000


@dataclass(frozen=True)
class JaccardResult:
    """Jaccard index over the score threshold.

    Attributes:
        thresholds (np.ndarray): Score thresholds, shape (T, ).
        ratio (np.ndarray): Index of each image, shape (T, P).
        counted (np.ndarray): Whether the image has anything to match, bool, shape (T, P).
    """

    thresholds: np.ndarray
    ratio: np.ndarray
    counted: np.ndarray

    def means(self, image_counts=None) -> np.ndarray:
        """Average over images at each threshold, shape (T, ); 0 if no image counts.

        Args:
            image_counts (np.ndarray, optional): How often each image counts, shape (P, ).
        """
        weights = 1 if image_counts is None else np.asarray(image_counts)
        total = (self.ratio * weights).sum(axis=1)
        return total / np.maximum((self.counted * weights).sum(axis=1), 1)

    def best(self, image_counts=None) -> float:
        """Return the reported index: the mean at the best threshold."""
        return float(self.means(image_counts).max())


def jaccard_index(pairs: CrowdPairs, iou_thr: float = 0.5) -> JaccardResult:
    """Compute the Jaccard index at each score threshold, by maximum bipartite matching.

    As many detections above the score threshold as possible are matched one to one with gts at an
    IoU of at least ``iou_thr``. Unmatched ones do not count if more than ``iou_thr`` of their own
    area lies in an ignore region. The index of an image is
    ``matched / (gts + detections - matched)``. Source: CrowdHuman's evaluation, as in
    https://github.com/Purkialo/CrowdDet.

    There are often several maximum matchings, and they leave different boxes unmatched, so with
    ignore regions the index depends on the matching. The one used is scipy's (Hopcroft and Karp) on
    detections in the order given, as in mmdet.

    Args:
        pairs (CrowdPairs): Result of ``collect_pairs``.
        iou_thr (float): At least ``pairs.min_iou``. Defaults to 0.5.

    Raises:
        ValueError: Pairs below the threshold were not included.
    """
    threshold = pairs.check_iou_thr(iou_thr)
    close = pairs.pair_iou >= threshold
    pair_det, pair_gt = pairs.pair_det[close], pairs.pair_gt[close]
    det_ignored = pairs.det_ignore_ioa > threshold
    gt_ignored = pairs.gt_ignore_ioa > threshold
    count = pairs.count_per_image
    num_gts = count(pairs.gt_image)
    ratios, counted = [], []
    for score_thr in SCORE_THRESHOLDS:
        kept = pairs.det_score > score_thr
        usable = kept[pair_det]
        matched_det, matched_gt = maximum_matching(
            pair_det[usable], pair_gt[usable], pairs.det_image
        )
        unmatched_det = kept & det_ignored
        unmatched_det[matched_det] = False
        unmatched_gt = gt_ignored.copy()
        unmatched_gt[matched_gt] = False
        matched = count(pairs.det_image[matched_det])
        m = num_gts - count(pairs.gt_image[unmatched_gt])
        n = count(pairs.det_image[kept]) - count(pairs.det_image[unmatched_det])
        ratios.append(matched / (m + n - matched + 1e-6))
        counted.append((m != 0) | (n != 0))
    return JaccardResult(np.array(SCORE_THRESHOLDS), np.array(ratios), np.array(counted))


def maximum_matching(pair_det: np.ndarray, pair_gt: np.ndarray, det_image: np.ndarray):
    """Find a maximum bipartite matching of detections and gts in all images.

    Images share neither detections nor gts, so many images form one graph. The matching of each is
    the same as if it were alone.

    Args:
        pair_det (np.ndarray): Detection of each pair, ascending, shape (E, ).
        pair_gt (np.ndarray): Gt of each pair, ascending per detection, shape (E, ).
        det_image (np.ndarray): Image of each detection, ascending, shape (D, ).

    Returns:
        tuple[np.ndarray, np.ndarray]: Matched detections and their gts, shape (M, ) each.

    Example:
        >>> dets, gts = maximum_matching(np.array([0, 0, 1]), np.array([0, 1, 0]), np.zeros(2, int))
        >>> dets.tolist(), gts.tolist()
        ([0, 1], [1, 0])
    """
    if not len(pair_det):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    image = det_image[pair_det]
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    # whole images, about PAIRS_PER_CALL pairs together
    cuts = starts[np.flatnonzero(np.diff(starts // PAIRS_PER_CALL, prepend=-1))]
    dets, gts = [], []
    for start, stop in zip(cuts, np.append(cuts[1:], len(pair_det)), strict=True):
        det, gt = pair_det[start:stop], pair_gt[start:stop]
        first_of_row = np.flatnonzero(np.diff(det, prepend=-1))
        rows = det[first_of_row]
        first_gt = gt.min()
        graph = csr_matrix(
            (
                np.ones(len(det), np.int8),
                (gt - first_gt).astype(np.int32),
                np.append(first_of_row, len(det)).astype(np.int32),
            ),
            shape=(len(rows), int(gt.max() - first_gt) + 1),
        )
        match = maximum_bipartite_matching(graph, perm_type='column')
        found = match >= 0
        dets.append(rows[found])
        gts.append(match[found] + first_gt)
    return np.concatenate(dets), np.concatenate(gts)
