"""Which (box, prior) pairs compete: by LLA's rule, the pairs whose prior lies inside the box.

Only about 2 % of all pairs do, so the pairs are listed and no table of boxes x priors is made.

The identity it rests on: priors that stand row by row on a *grid*, the columns' x and the rows' y
non-decreasing, are inside a box exactly where a run of columns meets a run of rows. ``x - x1`` and
``x2 - x`` are monotone in x in floating point too, so that binary searches over the very same test
find these runs exactly. The priors of mmdet's generators are a grid a level; priors in any other
order fall into more, smaller grids and give the same answer.

Other rules, SimOTA's around the centres of boxes and the leaving out of priors that ignore boxes
cover, are tests of tables, a chunk of boxes at a time.
"""

from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

#: How far inside a box, in pixels, a prior must lie on every side (reference, `fcos.py`).
INSIDE_MARGIN = 0.01

#: Pairs worked on at a time where boxes look at all priors, or priors at all boxes.
TABLE_CHUNK = 1 << 18


class PriorGrids(NamedTuple):
    """Priors, in the order they come, as grids.

    Attributes:
        coords (Tensor): x of the columns of all grids, then y of their rows, in pixels.
        begin, end (Tensor): Where columns and rows of each grid begin and end in ``coords``,
            int64, shape (num_grids, 2).
        first (Tensor): Index of the first prior of each grid, int64, shape (num_grids,).
        longest (int): Columns or rows, whichever are more, of the longest grid.
    """

    coords: Tensor
    begin: Tensor
    end: Tensor
    first: Tensor
    longest: int


class Rectangles(NamedTuple):
    """The priors inside every box, as a rectangle a grid. All int64, (num_boxes, num_grids).

    Attributes:
        first (Tensor): Index of the rectangle's first prior.
        rows, cols (Tensor): Size of the rectangle; both 0 if no prior is inside.
        step (Tensor): Priors from one row to the next.
    """

    first: Tensor
    rows: Tensor
    cols: Tensor
    step: Tensor


def find_grids(points: Tensor) -> PriorGrids:
    """Cut priors into grids, on the host.

    Args:
        points (Tensor): Centres of the priors in pixels, shape (num_priors, 2), at least one.

    Returns:
        PriorGrids: The grids, which together hold every prior once and in order.
    """
    x, y = points.detach().cpu().numpy().T
    row = np.flatnonzero(np.r_[True, (y[1:] != y[:-1]) | (x[1:] < x[:-1])])
    length = np.diff(np.r_[row, len(x)])
    # A row goes on with the grid of the row above if it has the same columns.
    above = np.arange(len(x)) - np.repeat(np.r_[length[0], length[:-1]], length)
    moved = np.logical_or.reduceat(x != x[above.clip(min=0)], row)
    joins = ~moved[1:] & (length[1:] == length[:-1]) & (y[row[1:]] >= y[row[:-1]])
    top = np.flatnonzero(np.r_[True, ~joins])
    height, width, first = np.diff(np.r_[top, len(row)]), length[top], row[top]
    in_top = np.repeat(np.r_[True, ~joins], length)
    columns = in_top.sum()
    size = np.stack([width, height], 1)
    begin = np.stack([width.cumsum() - width, columns + top], 1)
    as_tensor = lambda array: torch.from_numpy(array).to(points.device)  # noqa: E731
    return PriorGrids(
        as_tensor(np.r_[x[in_top], y[row]]),
        as_tensor(begin),
        as_tensor(begin + size),
        as_tensor(first),
        int(size.max()),
    )


def inside_rectangles(
    boxes: Tensor, grids: PriorGrids, margin: float = INSIDE_MARGIN
) -> Rectangles:
    """The priors inside every box, by more than a margin on every side.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (num_boxes, 4).
        grids (PriorGrids): The priors.
        margin (float): The margin in pixels. Defaults to that of the reference.

    Returns:
        Rectangles: One a box and grid.
    """
    bound = boxes.unsqueeze(1)
    is_upper = torch.arange(4, device=boxes.device) >= 2
    sign = 1 - 2 * is_upper.to(boxes.dtype)
    last = len(grids.coords) - 1  # a search that has ended may stand behind the last coordinate
    # Four searches a box and grid: the first coordinate that is past x1, y1 and no more before
    # x2, y2.
    low, high = (index.repeat(1, 2).expand(len(boxes), -1, -1) for index in grids[1:3])
    for _ in range(grids.longest.bit_length()):
        middle = (low + high) >> 1
        coord = grids.coords[middle.clamp(max=last)]
        past = (((coord - bound) * sign > margin) != is_upper) | (low == high)
        low, high = torch.where(past, low, middle + 1), torch.where(past, middle, high)
    size = (low[..., 2:] - low[..., :2]).clamp_(min=0)
    size *= size.all(-1, keepdim=True)
    column, row = (low[..., :2] - grids.begin).unbind(-1)
    step = grids.end[:, 0] - grids.begin[:, 0]
    return Rectangles(
        grids.first + row * step + column, size[..., 1], size[..., 0], step.expand_as(row)
    )


def list_pairs(rectangles: Rectangles, num_runs: int, num_pairs: int) -> tuple[Tensor, Tensor]:
    """Write rectangles out as pairs, ordered by box and then by prior.

    Args:
        rectangles (Rectangles): Of some boxes.
        num_runs (int): Sum of ``rows``.
        num_pairs (int): Sum of ``rows * cols``; handing both over spares a synchronisation.

    Returns:
        tuple[Tensor, Tensor]: Box index and prior index of each pair, int64, shape (num_pairs,).
    """
    num_grids = rectangles.first.size(1)
    first, rows, cols, step = (values.flatten() for values in rectangles)
    owner, row = _spread(rows, num_runs)
    first = first[owner] + row * step[owner]
    run, place = _spread(cols[owner], num_pairs)
    return (owner // num_grids).index_select(0, run), place.add_(first.index_select(0, run))


def _spread(count: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """For ``count[i]`` items of each i: the i of each item, and its place among those of i."""
    owner = torch.repeat_interleave(count, output_size=total)
    place = torch.arange(total, device=count.device)
    return owner, place.sub_((count.cumsum(0) - count).index_select(0, owner))


def is_inside(boxes: Tensor, points: Tensor, margin: float = INSIDE_MARGIN) -> Tensor:
    """Whether points lie inside boxes, by more than a margin on every side.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, ...); further rows are left.
        points (Tensor): x, y in pixels, shape (2, ...), broadcast against ``boxes``.
        margin (float): The margin in pixels. Defaults to that of the reference.

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    inside = (points[0] - boxes[0]) > margin
    for distance in (points[1] - boxes[1], boxes[2] - points[0], boxes[3] - points[1]):
        inside &= distance > margin
    return inside


def is_near_centre(boxes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """Whether points lie less than ``reach`` from the boxes' centres, in x and in y (SimOTA).

    Args:
        boxes, points (Tensor): See :func:`is_inside`.
        reach (Tensor): How far each point reaches in x and y, in pixels, shape (2, ...).

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    x, y = ((boxes[low] + boxes[low + 2]) / 2 for low in (0, 1))
    around = (x - reach[0], y - reach[1], x + reach[0], y + reach[1])
    return is_inside(around, points, 0.0)


def in_any(boxes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """Whether points lie inside any box or near any centre, the priors that SimOTA admits.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, num_boxes).
        points, reach (Tensor): See :func:`is_near_centre`, shape (2, num_priors).

    Returns:
        Tensor: bool, shape (num_priors,).
    """
    admitted = torch.zeros_like(points[0], dtype=torch.bool)
    for part in boxes.unsqueeze(-1).split(max(TABLE_CHUNK // points.size(1), 1), 1):
        admitted |= (is_inside(part, points, 0.0) | is_near_centre(part, points, reach)).any(0)
    return admitted


def is_covered(priors: Tensor, ignored: Tensor, threshold: float) -> Tensor:
    """Whether any ignore box covers more than a share of a prior (as mmdet's ``ignore_iof_thr``).

    Args:
        priors (Tensor): Anchor boxes in pixels, shape (num_priors, 4), or points, shape
            (num_priors, 2), which a box covers wholly or not at all.
        ignored (Tensor): Ignore boxes in pixels, shape (num_ignored, 4).
        threshold (float): The share, in [0, 1).

    Returns:
        Tensor: bool, shape (num_priors,).
    """
    covered = priors.new_zeros(len(priors), dtype=torch.bool)
    for part in ignored.split(max(TABLE_CHUNK // max(len(priors), 1), 1)):
        if priors.size(1) == 4:
            covered |= (bbox_overlaps(priors, part, mode='iof') > threshold).any(1)
        else:
            covered |= is_inside(part.T.unsqueeze(-1), priors.T).any(0)
    return covered
