"""Which (box, prior) pairs compete: the pairs whose prior lies inside the box.

Only about 2 % of all pairs do, so the pairs are listed and no table of boxes x priors is made.

The identity it rests on: priors that stand row by row on a *grid*, the columns' x and the rows' y
non-decreasing, are inside a box exactly where a run of columns meets a run of rows. ``x - x1`` and
``x2 - x`` are monotone in x in floating point too, so that binary searches over the very same test
find these runs exactly. The priors of mmdet's generators are a grid a level; priors in any other
order fall into more, smaller grids and give the same answer.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: How far inside a box, in pixels, a prior must lie on every side (reference, `fcos.py`).
INSIDE_MARGIN = 0.01


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
    return PriorGrids(as_tensor(np.r_[x[in_top], y[row]]), as_tensor(begin),
                      as_tensor(begin + size), as_tensor(first), int(size.max()))


def inside_rectangles(boxes: Tensor, grids: PriorGrids) -> Rectangles:
    """The priors inside every box, by more than ``INSIDE_MARGIN`` on every side.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (num_boxes, 4).
        grids (PriorGrids): The priors.

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
        past = (((coord - bound) * sign > INSIDE_MARGIN) != is_upper) | (low == high)
        low, high = torch.where(past, low, middle + 1), torch.where(past, middle, high)
    size = (low[..., 2:] - low[..., :2]).clamp_(min=0)
    size *= size.all(-1, keepdim=True)
    column, row = (low[..., :2] - grids.begin).unbind(-1)
    step = grids.end[:, 0] - grids.begin[:, 0]
    return Rectangles(grids.first + row * step + column, size[..., 1], size[..., 0],
                      step.expand_as(row))


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


def is_inside(boxes: Tensor, points: Tensor) -> Tensor:
    """Whether points lie inside boxes, by more than ``INSIDE_MARGIN`` on every side.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, ...); further rows are left.
        points (Tensor): x, y in pixels, shape (2, ...), broadcast against ``boxes``.

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    inside = (points[0] - boxes[0]) > INSIDE_MARGIN
    for margin in (points[1] - boxes[1], boxes[2] - points[0], boxes[3] - points[1]):
        inside &= margin > INSIDE_MARGIN
    return inside
