"""Which (box, prior) pairs compete: the pairs whose prior lies inside the box.

Only about 2 % of all pairs do, so the pairs are listed and no table of boxes x priors is made.

The identity it rests on: in a *row*, a run of priors of equal y and non-decreasing x, the priors
inside a box are one contiguous run. ``x - x1`` and ``x2 - x`` are monotone in x in floating point
too, so that two binary searches over the very same test find that run exactly. The priors of
mmdet's generators are a few hundred rows; priors in any other order fall into more, shorter rows
and give the same answer.
"""

from typing import NamedTuple

import torch
from torch import Tensor

#: How far inside a box, in pixels, a prior must lie on every side (reference, `fcos.py`).
INSIDE_MARGIN = 0.01


class PriorRows(NamedTuple):
    """Priors as runs of equal y and non-decreasing x.

    Attributes:
        x (Tensor): x of every prior, in pixels, shape (num_priors,).
        y (Tensor): y of every row, in pixels, shape (num_rows,).
        start (Tensor): index of the first prior of every row, int64, shape (num_rows,).
        end (Tensor): index behind the last prior of every row, int64, shape (num_rows,).
        max_length (int): number of priors in the longest row.
    """

    x: Tensor
    y: Tensor
    start: Tensor
    end: Tensor
    max_length: int


def find_rows(points: Tensor) -> PriorRows:
    """Cut priors, in the order they come, into rows.

    Args:
        points (Tensor): Centres of the priors in pixels, shape (num_priors, 2).

    Returns:
        PriorRows: The rows, which together hold every prior once and in order.
    """
    x, y = points.unbind(-1)
    first = torch.ones_like(x, dtype=torch.bool)
    first[1:] = (y[1:] != y[:-1]) | (x[1:] < x[:-1])
    start = first.nonzero().squeeze(1)
    end = torch.cat([start[1:], start.new_tensor([len(x)])])
    max_length = int((end - start).max()) if len(start) else 0
    return PriorRows(x.contiguous(), y[start], start, end, max_length)


def inside_runs(boxes: Tensor, rows: PriorRows) -> tuple[Tensor, Tensor]:
    """The run of priors inside every box, in every row.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (num_boxes, 4).
        rows (PriorRows): The priors.

    Returns:
        tuple[Tensor, Tensor]: Index of the first prior of the run, and the number of priors in
        it, both int64 and of shape (num_boxes, num_rows).
    """
    x1, y1, x2, y2 = boxes.unsqueeze(-1).unbind(1)
    in_y = ((rows.y - y1) > INSIDE_MARGIN) & ((y2 - rows.y) > INSIDE_MARGIN)
    last = len(rows.x) - 1  # a search that has ended may stand behind the last prior

    def first_where(holds) -> Tensor:
        """First index of each row from which on ``holds(x)`` is true; the row's end if none."""
        low, high = rows.start.expand_as(in_y), rows.end.expand_as(in_y)
        for _ in range(rows.max_length.bit_length()):
            middle = (low + high) // 2
            found = holds(rows.x[middle.clamp(max=last)]) | (low == high)
            low, high = torch.where(found, low, middle + 1), torch.where(found, middle, high)
        return low

    first = first_where(lambda x: (x - x1) > INSIDE_MARGIN)
    behind = first_where(lambda x: ~((x2 - x) > INSIDE_MARGIN))
    return first, (behind - first).clamp_(min=0).mul_(in_y)


def list_pairs(first: Tensor, count: Tensor, num_pairs: int) -> tuple[Tensor, Tensor]:
    """Write runs out as pairs, ordered by box and then by prior.

    Args:
        first (Tensor): First prior of each run, shape (num_boxes, num_rows).
        count (Tensor): Priors in each run, same shape.
        num_pairs (int): Sum of ``count``; handing it over spares a synchronisation.

    Returns:
        tuple[Tensor, Tensor]: Box index and prior index of each pair, int64, shape (num_pairs,).
    """
    num_boxes, num_rows = count.shape
    count = count.flatten()
    # A prior's place in its run is its place in the list less the place where the run begins.
    shift = first.flatten() - (count.cumsum(0) - count)
    run = torch.repeat_interleave(count, output_size=num_pairs)
    prior = torch.arange(num_pairs, device=count.device) + shift[run]
    return run // max(num_rows, 1), prior


def is_inside(boxes: Tensor, points: Tensor) -> Tensor:
    """Whether each point lies inside each box, by more than ``INSIDE_MARGIN`` on every side.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (..., 4).
        points (Tensor): Points in pixels, shape (..., 2), broadcast against ``boxes``.

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    return torch.minimum(points - boxes[..., :2], boxes[..., 2:] - points).amin(-1) > INSIDE_MARGIN
