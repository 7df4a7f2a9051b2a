"""Boxes and points as tensors: areas, IoU, and whether points lie inside boxes.

Functions that pair two kinds of things take coordinates first, ``(4, ...)`` and ``(2, ...)``, so
that the remaining dimensions broadcast against each other.
"""

import torch
from torch import Tensor

#: A prior is inside a gt if it lies more than this many pixels inside every side (reference code).
INSIDE_MARGIN = 0.01

#: Lower bound of areas in square pixels, so that unions can be divided by.
AREA_EPS = torch.finfo(torch.float32).eps


def box_tensor(boxes) -> Tensor:
    """Return the tensor of boxes, which may be one of mmdet's box types."""
    return boxes if isinstance(boxes, Tensor) else boxes.tensor


def align_dims(values: Tensor, others: Tensor) -> Tensor:
    """Insert dimensions after the first, so that ``values`` broadcasts against ``others``."""
    return values[(slice(None), *(None,) * (others.dim() - values.dim()))]


def with_area(boxes: Tensor) -> Tensor:
    """Convert boxes to the form that :func:`pair_iou` reads.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (n, 4).

    Returns:
        Tensor: x1, y1, x2, y2 and area (at least ``AREA_EPS``), shape (5, n).

    >>> with_area(torch.tensor([[0.0, 0.0, 4.0, 2.0]])).flatten().tolist()
    [0.0, 0.0, 4.0, 2.0, 8.0]
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_(min=0)  # (n, 2)
    area = (sides[:, 0] * sides[:, 1]).clamp_(min=AREA_EPS)  # (n,)
    return torch.cat([boxes.T, area.unsqueeze(0)])


def pair_inter_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Compute areas of intersection and union (which is never 0); see :func:`pair_iou`."""
    boxes1, boxes2 = align_dims(boxes1, boxes2), align_dims(boxes2, boxes1)
    sides = torch.minimum(boxes1[2:4], boxes2[2:4]).sub_(torch.maximum(boxes1[:2], boxes2[:2]))
    inter = sides.clamp_(min=0)[0].mul_(sides[1])
    union = (boxes1[4] + boxes2[4]).sub_(inter)
    return inter, union


def pair_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the IoU of boxes, pair by pair; 0 where they do not overlap.

    Args:
        boxes1, boxes2 (Tensor): See :func:`with_area`, shapes (5, ...), broadcast.

    Returns:
        Tensor: IoU in [0, 1], of the broadcast shape.

    >>> boxes = with_area(torch.tensor([[0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 4.0, 2.0]]))
    >>> pair_iou(boxes.unsqueeze(-1), boxes).tolist()  # all with all
    [[1.0, 0.5], [0.5, 1.0]]
    """
    inter, union = pair_inter_and_union(boxes1, boxes2)
    return inter.div_(union)


def signed_depth(lower: Tensor, upper: Tensor, points: Tensor) -> Tensor:
    """Compute how deep points lie inside boxes, in pixels; negative outside.

    Args:
        lower, upper (Tensor): x1 and y1, and x2 and y2, in pixels, shape (2, ...).
        points (Tensor): x, y in pixels, shape (2, ...), broadcast against these.

    Returns:
        Tensor: Distance from the nearest side, of the broadcast shape.
    """
    points = align_dims(points, lower)
    distance = points - lower
    return torch.minimum(distance, upper - points, out=distance).amin(0)


def is_inside(boxes: Tensor, points: Tensor, margin: float = INSIDE_MARGIN) -> Tensor:
    """Test whether points lie inside boxes, by more than a margin on every side.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, ...); further rows are unused.
        points (Tensor): x, y in pixels, shape (2, ...), broadcast against ``boxes``.
        margin (float): The margin in pixels. Defaults to that of the reference code.

    Returns:
        Tensor: bool, of the broadcast shape.

    >>> box = torch.tensor([0.0, 0.0, 8.0, 8.0])
    >>> is_inside(box, torch.tensor([4.0, 0.005])).item()
    False
    """
    return signed_depth(boxes[:2], boxes[2:4], points) > margin


def is_near_center(boxes: Tensor, points: Tensor, radius: Tensor) -> Tensor:
    """Test whether points lie within a radius of the boxes' centers, in x and in y (SimOTA, OTA).

    Args:
        boxes, points (Tensor): See :func:`is_inside`.
        radius (Tensor): Radius of each point in x and y, in pixels, shape (2, ...).

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    center, radius = (boxes[:2] + boxes[2:4]) / 2, align_dims(radius, boxes)
    return signed_depth(center - radius, center + radius, points) > 0
