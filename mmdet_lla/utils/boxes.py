"""Areas and overlaps of boxes ``(x1, y1, x2, y2)`` in NumPy."""

import numpy as np


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Compute the area of each box.

    Args:
        boxes (np.ndarray): Shape (..., 4).

    Returns:
        np.ndarray: Shape (...), in the dtype of the boxes.

    Example:
        >>> box_area(np.array([[0, 0, 4, 5]])).tolist()
        [20]
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_intersection(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Compute the intersection area of every pair of boxes.

    Args:
        boxes1 (np.ndarray): Shape (n, 4).
        boxes2 (np.ndarray): Shape (m, 4).

    Returns:
        np.ndarray: Shape (n, m), in the dtype of the boxes.

    Example:
        >>> box_intersection(np.array([[0, 0, 4, 4]]), np.array([[2, 2, 6, 6], [4, 0, 8, 4]]))
        array([[4, 0]])
    """
    left, top, right, bottom = (boxes1[:, None, i] for i in range(4))  # (n, 1) each
    width = np.minimum(right, boxes2[:, 2]) - np.maximum(left, boxes2[:, 0])  # (n, m)
    height = np.minimum(bottom, boxes2[:, 3]) - np.maximum(top, boxes2[:, 1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def box_iou(boxes1: np.ndarray, boxes2: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Compute the intersection over union of every pair of boxes.

    The order of operations is that of ``mmdet.evaluation.bbox_overlaps``. Boxes in float32
    therefore give identical bits and fall on the same side of a threshold.

    Args:
        boxes1 (np.ndarray): Floating, shape (n, 4).
        boxes2 (np.ndarray): Floating, shape (m, 4).
        eps (float): Lower bound of the union. Defaults to 1e-6.

    Returns:
        np.ndarray: Shape (n, m), in the dtype of the boxes.

    Example:
        >>> box_iou(np.array([[0.0, 0, 4, 4]]), np.array([[0.0, 0, 4, 2], [8, 8, 9, 9]])).tolist()
        [[0.5, 0.0]]
    """
    overlap = box_intersection(boxes1, boxes2)
    union = box_area(boxes1)[:, None] + box_area(boxes2)
    union -= overlap
    np.maximum(union, eps, out=union)
    overlap /= union
    return overlap


def box_ioa(boxes1: np.ndarray, boxes2: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Compute the intersection of every pair of boxes over the area of the first box.

    Args:
        boxes1 (np.ndarray): Boxes that may be covered, such as detections, floating, shape (n, 4).
        boxes2 (np.ndarray): Boxes that cover, such as ignore regions, floating, shape (m, 4).
        eps (float): Lower bound of the area. Defaults to 1e-6.

    Returns:
        np.ndarray: Shape (n, m), in the dtype of the boxes.

    Example:
        >>> box_ioa(np.array([[0.0, 0, 4, 4]]), np.array([[0.0, 0, 99, 1]])).tolist()
        [[0.25]]
    """
    return box_intersection(boxes1, boxes2) / np.maximum(box_area(boxes1), eps)[:, None]
