"""Jaccard index of a crowd: how well detections and people pair up one to one."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from .matching import CrowdPairs

SCORE_THRESHOLDS = tuple(0.1 * i for i in range(10))
# Pairs handed to one call of the matching: enough to hide the cost of a call, few enough that
# its passes stay in the cache.
PAIRS_PER_CALL = 20000


@dataclass(frozen=True)
class JaccardResult:
    """Jaccard index over the score threshold.

    Attributes:
        thresholds (np.ndarray): Score thresholds, shape (T, ).
        ratio (np.ndarray): Index of each picture, shape (T, P).
        counted (np.ndarray): Whether the picture has anything to match, bool, shape (T, P).
    """

    thresholds: np.ndarray
    ratio: np.ndarray
    counted: np.ndarray

    def means(self, picture_counts=None) -> np.ndarray:
        """Mean over pictures at each threshold, shape (T, ); 0 where no picture counts.

        Args:
            picture_counts (np.ndarray, optional): How often each picture counts, shape (P, ).
        """
        weights = 1 if picture_counts is None else np.asarray(picture_counts)
        total = (self.ratio * weights).sum(axis=1)
        return total / np.maximum((self.counted * weights).sum(axis=1), 1)

    def best(self, picture_counts=None) -> float:
        """The index that is reported: the mean at the best threshold."""
        return float(self.means(picture_counts).max())


def jaccard_index(pairs: CrowdPairs, iou_thr: float = 0.5) -> JaccardResult:
    """Jaccard index at each score threshold, by maximum bipartite matching.

    Of detections above the score threshold and people, as many as possible are paired one to one
    with an IoU of at least ``iou_thr``. Those left over that lie in an ignore region by more than
    ``iou_thr`` (of their own area) are not counted. A picture's index is
    ``matched / (people + detections - matched)``. Source: CrowdHuman's evaluation, as in
    https://github.com/Purkialo/CrowdDet.

    There are in general several maximum matchings, which leave over different boxes, so with ignore
    regions the index depends on which one is found. The one taken is scipy's (Hopcroft and Karp) on
    detections in the order given, as in mmdet.

    Args:
        pairs (CrowdPairs): What ``collect_pairs`` gives.
        iou_thr (float): At least ``pairs.min_iou``. Defaults to 0.5.

    Raises:
        ValueError: The threshold is below the pairs that were kept.
    """
    if iou_thr < pairs.min_iou:
        raise ValueError(f'iou_thr is {iou_thr}, but pairs below {pairs.min_iou} were left out')
    threshold = np.float32(iou_thr)
    close = pairs.pair_iou >= threshold
    pair_det, pair_gt = pairs.pair_det[close], pairs.pair_gt[close]
    det_ignored = pairs.det_ignored > threshold
    gt_ignored = pairs.gt_ignored > threshold

    def per_picture(picture: np.ndarray) -> np.ndarray:
        return np.bincount(picture, minlength=pairs.num_pictures)

    people = per_picture(pairs.gt_picture)
    ratios, counted = [], []
    for score_thr in SCORE_THRESHOLDS:
        kept = pairs.det_score > score_thr
        usable = kept[pair_det]
        matched_det, matched_gt = maximum_matching(
            pair_det[usable], pair_gt[usable], pairs.det_picture
        )
        det_left = kept & det_ignored
        det_left[matched_det] = False
        gt_left = gt_ignored.copy()
        gt_left[matched_gt] = False
        matched = per_picture(pairs.det_picture[matched_det])
        m = people - per_picture(pairs.gt_picture[gt_left])
        n = per_picture(pairs.det_picture[kept]) - per_picture(pairs.det_picture[det_left])
        ratios.append(matched / (m + n - matched + 1e-6))
        counted.append((m != 0) | (n != 0))
    return JaccardResult(np.array(SCORE_THRESHOLDS), np.array(ratios), np.array(counted))


def maximum_matching(pair_det: np.ndarray, pair_gt: np.ndarray, det_picture: np.ndarray):
    """Maximum bipartite matching of all pictures' detections and people.

    Pictures share neither detections nor people, so many of them make one graph; the matching of
    each is the same as if it were alone.

    Args:
        pair_det (np.ndarray): Detection of each pair, rising, shape (E, ).
        pair_gt (np.ndarray): Person of each pair, rising for one detection, shape (E, ).
        det_picture (np.ndarray): Picture of each detection, rising, shape (D, ).

    Returns:
        tuple[np.ndarray, np.ndarray]: Matched detections and their people, shape (M, ) each.
    """
    if not len(pair_det):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    picture = det_picture[pair_det]
    starts = np.flatnonzero(np.diff(picture, prepend=-1))
    # whole pictures, about PAIRS_PER_CALL pairs together
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
