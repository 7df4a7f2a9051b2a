"""Overlaps of boxes, in the two measures that crowd benchmarks use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def intersections(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Area shared by every pair of boxes.

    Args:
        rows (np.ndarray): Boxes ``(x1, y1, x2, y2)``, shape (n, 4).
        cols (np.ndarray): Boxes ``(x1, y1, x2, y2)``, shape (k, 4).

    Returns:
        np.ndarray: Shape (n, k), in the dtype of the boxes.
    """
    width = np.minimum(rows[:, None, 2], cols[:, 2]) - np.maximum(rows[:, None, 0], cols[:, 0])
    height = np.minimum(rows[:, None, 3], cols[:, 3]) - np.maximum(rows[:, None, 1], cols[:, 1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes ``(x1, y1, x2, y2)``; shape (n, 4) to (n, )."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou_matrix(rows: np.ndarray, cols: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Intersection over union of every pair.

    The arithmetic, order of operations included, is that of ``mmdet.evaluation.bbox_overlaps``,
    so that float32 boxes give bit for bit the same numbers and fall on the same side of a
    threshold.

    Args:
        rows (np.ndarray): Boxes, shape (n, 4).
        cols (np.ndarray): Boxes, shape (k, 4).
        eps (float): Least union. Defaults to 1e-6.

    Returns:
        np.ndarray: Shape (n, k), in the dtype of the boxes.
    """
    shared = intersections(rows, cols)
    union = areas(rows)[:, None] + areas(cols)
    union -= shared
    np.maximum(union, eps, out=union)
    shared /= union
    return shared


def coverage_matrix(rows: np.ndarray, cols: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Intersection over the area of the row's box, for every pair.

    Args:
        rows (np.ndarray): Boxes that are covered (detections), shape (n, 4).
        cols (np.ndarray): Boxes that cover (ignore regions), shape (k, 4).
        eps (float): Least area. Defaults to 1e-6.

    Returns:
        np.ndarray: Shape (n, k), in the dtype of the boxes.
    """
    return intersections(rows, cols) / np.maximum(areas(rows), eps)[:, None]


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
    return coverage_matrix(rows, cols).max(axis=1)


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
    enough = areas(dets) * (0.99 * min_coverage)
    pair_det, pair_gt = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    pair_shared = [np.zeros(0, dets.dtype)]
    for i in range(len(det_at) - 1):
        of_dets, of_gts = slice(det_at[i], det_at[i + 1]), slice(gt_at[i], gt_at[i + 1])
        # ground truth first: rows of hundreds of detections are quicker than rows of tens
        shared = intersections(gts[of_gts], dets[of_dets]).T
        det, gt = np.nonzero((shared > enough[of_dets, None]) & (shared > 0))
        pair_det.append(det + det_at[i])
        pair_gt.append(gt + gt_at[i])
        pair_shared.append(shared[det, gt])
    return np.concatenate(pair_det), np.concatenate(pair_gt), np.concatenate(pair_shared)


def iou_of_pairs(det_areas: np.ndarray, gt_areas: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs, in the arithmetic of ``iou_matrix``; shape (E, ) each."""
    return shared / np.maximum(det_areas + gt_areas - shared, 1e-6)
