"""Pairs of overlapping boxes, for all images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.boxes import box_area, box_intersection, box_ioa


def max_coverage(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Largest share of each row's box that one of the columns' boxes covers.

    Args:
        rows (np.ndarray): Boxes, shape (n, 4).
        cols (np.ndarray): Boxes, shape (k, 4); ``k`` may be 0.

    Returns:
        np.ndarray: Shape (n, ), 0 where there is nothing that covers.
    """
    if not len(cols):
        return np.zeros(len(rows), dtype=rows.dtype)
    return box_ioa(rows, cols).max(axis=1)


def lay_out(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of all pictures end to end.

    Args:
        parts (Sequence[np.ndarray]): Boxes of each picture, shape (n, 4) each; P of them.

    Returns:
        tuple[np.ndarray, np.ndarray]: Boxes, float64, shape (N, 4); where each picture starts and,
        last, where the last one ends, shape (P + 1, ).
    """
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return np.concatenate([np.zeros((0, 4)), *parts]), np.concatenate([[0], ends])


def pairs_above(
    dets: np.ndarray, det_at: np.ndarray, gts: np.ndarray, gt_at: np.ndarray, min_coverage: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of one picture that share a certain part of the detection.

    No pair's IoU is above its coverage, so this also finds all pairs of a certain IoU. A hundredth
    less than ``min_coverage`` is let through, so that rounding loses nothing; the caller judges
    them exactly.

    Args:
        dets (np.ndarray): Detections as ``lay_out`` gives them, shape (D, 4).
        det_at (np.ndarray): Where each picture starts, shape (P + 1, ).
        gts (np.ndarray): Ground truth, shape (G, 4), of the same dtype.
        gt_at (np.ndarray): Where each picture starts, shape (P + 1, ).
        min_coverage (float): Least shared part of the detection's area.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Detection of each pair, rising; ground truth,
        rising for one detection; area shared, above 0; shape (E, ) each.
    """
    enough = box_area(dets) * (0.99 * min_coverage)
    pair_det, pair_gt = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    pair_shared = [np.zeros(0, dets.dtype)]
    for i in range(len(det_at) - 1):
        of_dets, of_gts = slice(det_at[i], det_at[i + 1]), slice(gt_at[i], gt_at[i + 1])
        # ground truth first: rows of hundreds of detections are quicker than rows of tens
        shared = box_intersection(gts[of_gts], dets[of_dets]).T
        det, gt = np.nonzero((shared > enough[of_dets, None]) & (shared > 0))
        pair_det.append(det + det_at[i])
        pair_gt.append(gt + gt_at[i])
        pair_shared.append(shared[det, gt])
    return np.concatenate(pair_det), np.concatenate(pair_gt), np.concatenate(pair_shared)


def iou_of_pairs(det_areas: np.ndarray, gt_areas: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs, in the arithmetic of ``box_iou``; shape (E, ) each."""
    return shared / np.maximum(det_areas + gt_areas - shared, 1e-6)
