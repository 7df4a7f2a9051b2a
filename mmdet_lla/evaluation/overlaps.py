"""Overlaps of boxes, in the two measures that crowd benchmarks use."""

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
