"""Pairs of overlapping boxes, for all images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.boxes import box_area, box_intersection, box_ioa
from .annotations import CrowdDetections


def clip_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Clip boxes to their images as CrowdHuman's evaluation does.

    The top left corner stays one pixel inside the image and the bottom right one on its border.
    A box beyond the right border therefore becomes one pixel wide.

    Args:
        boxes (np.ndarray): Shape (n, 4).
        sizes (np.ndarray): Width and height of the image, shape (2, ), or of the image of each
            box, shape (n, 2).

    Returns:
        np.ndarray: float32, shape (n, 4).

    Example:
        >>> clip_boxes(np.array([[-5.0, 2, 99, 8]]), np.array([40, 30])).tolist()
        [[0.0, 2.0, 40.0, 8.0]]
    """
    clipped = np.empty(boxes.shape, dtype=np.float32)
    clipped[:, :2] = np.clip(boxes[:, :2], 0, np.subtract(sizes, 1))
    clipped[:, 2:] = np.clip(boxes[:, 2:], 0, sizes)
    return clipped


def stack_image_sizes(detections: Sequence[CrowdDetections]) -> np.ndarray:
    """Stack width and height of each image, shape (num_images, 2)."""
    return np.array([(one.width, one.height) for one in detections]).reshape(-1, 2)


def concat_boxes(
    parts: Sequence[np.ndarray], sizes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate the boxes of all images.

    Args:
        parts (Sequence[np.ndarray]): Boxes of each image, shape (n, 4) each.
        sizes (np.ndarray, optional): Width and height of each image, shape (num_images, 2), to
            clip boxes to. Defaults to no clipping.

    Returns:
        tuple[np.ndarray, np.ndarray]: Boxes, float64 or, if clipped, float32, shape (N, 4); start
        of each image and end of the last one, shape (num_images + 1, ).

    Example:
        >>> boxes, starts = concat_boxes([np.ones((2, 4)), np.ones((1, 4))])
        >>> boxes.shape, starts.tolist()
        ((3, 4), [0, 2, 3])
    """
    counts = [len(part) for part in parts]
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    boxes = np.concatenate([np.zeros((0, 4)), *parts])
    if sizes is not None:
        boxes = clip_boxes(boxes, np.repeat(sizes, counts, axis=0))
    return boxes, starts


def concat_arrays(parts: Sequence, dtype) -> np.ndarray:
    """Concatenate the values of all images; without images, the result is empty."""
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)


def max_ioa(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Compute the largest fraction of each box that one region covers.

    Args:
        boxes (np.ndarray): Shape (n, 4).
        regions (np.ndarray): Shape (m, 4); m may be 0.

    Returns:
        np.ndarray: Shape (n, ), 0 without regions.

    Example:
        >>> max_ioa(np.array([[0.0, 0, 4, 4]]), np.array([[0.0, 0, 4, 1], [0, 0, 4, 3]])).tolist()
        [0.75]
    """
    if not len(regions):
        return np.zeros(len(boxes), dtype=boxes.dtype)
    return box_ioa(boxes, regions).max(axis=1)


def find_overlapping_pairs(
    dets: np.ndarray,
    det_starts: np.ndarray,
    gts: np.ndarray,
    gt_starts: np.ndarray,
    min_ioa: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of an image that share at least a given fraction of the detection.

    The IoU of a pair never exceeds this fraction, so pairs above an IoU are found as well. The
    bound is 1 % lower than ``min_ioa`` to be safe from rounding; callers apply the exact one.

    Args:
        dets (np.ndarray): Detections from :func:`concat_boxes`, shape (D, 4).
        det_starts (np.ndarray): Start of each image, shape (num_images + 1, ).
        gts (np.ndarray): Ground truth of the same dtype, shape (G, 4).
        gt_starts (np.ndarray): Start of each image, shape (num_images + 1, ).
        min_ioa (float): Least shared fraction of the detection's area.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Detection of each pair, ascending; gt of each
        pair, ascending per detection; intersection area, above 0; shape (E, ) each.
    """
    min_overlap = box_area(dets) * (0.99 * min_ioa)
    pair_det, pair_gt = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    pair_overlap = [np.zeros(0, dets.dtype)]
    for i in range(len(det_starts) - 1):
        of_dets = slice(det_starts[i], det_starts[i + 1])
        of_gts = slice(gt_starts[i], gt_starts[i + 1])
        # gts first: rows of hundreds of detections are faster than rows of tens
        overlap = box_intersection(gts[of_gts], dets[of_dets]).T  # (num_dets, num_gts)
        det, gt = np.nonzero((overlap > min_overlap[of_dets, None]) & (overlap > 0))
        pair_det.append(det + det_starts[i])
        pair_gt.append(gt + gt_starts[i])
        pair_overlap.append(overlap[det, gt])
    return np.concatenate(pair_det), np.concatenate(pair_gt), np.concatenate(pair_overlap)


def compute_pair_ious(
    det_areas: np.ndarray, gt_areas: np.ndarray, overlaps: np.ndarray
) -> np.ndarray:
    """Compute the IoU of pairs with the arithmetic of ``box_iou``; shape (E, ) each."""
    return overlaps / np.maximum(det_areas + gt_areas - overlaps, 1e-6)
