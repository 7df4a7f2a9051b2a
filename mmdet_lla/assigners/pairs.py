"""Candidate pairs of the rules that look inside boxes and around their centres (OTA, POTO), listed.

A box has at most 25 priors a level within 2.5 strides of its centre, however large it is, and so
few of the pairs inside are left. The pairs inside are listed a chunk of boxes at a time.
"""

import numpy as np
import torch
from torch import Tensor

from .candidates import PriorGrids, Rectangles, find_grids, is_near_centre, list_pairs
from .matching import PAIR_CHUNK


class GridMemory:
    """Finds the grids of priors once for a tensor that is handed over again and again."""

    def __init__(self) -> None:
        self._last: tuple[object | None, PriorGrids | None] = (None, None)

    def grids_of(self, priors: object, points: Tensor) -> PriorGrids:
        """Grids of ``points`` (n, 2), the centres of ``priors`` as they were handed over."""
        last, grids = self._last
        if last is not priors or grids is None:
            grids = find_grids(points)
            self._last = (priors, grids)
        return grids


def count_inside(rectangles: Rectangles) -> Tensor:
    """What :func:`list_near` needs on the host: rows and priors of every box, (2, num_boxes)."""
    return torch.stack([rectangles.rows.sum(0), (rectangles.rows * rectangles.cols).sum(0)])


def list_near(
    boxes: Tensor,
    points: Tensor,
    reach: Tensor | None,
    rectangles: Rectangles,
    counts: np.ndarray,
    free: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Pairs whose prior is in a box's rectangles, near its centre and free.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, num_boxes).
        points (Tensor): x, y in pixels, shape (2, num_priors).
        reach (Tensor, optional): How far each prior reaches in x and y, in pixels, shape
            (2, num_priors); None: any distance is near.
        rectangles (Rectangles): The priors inside each box.
        counts (np.ndarray): :func:`count_inside` of them.
        free (Tensor, optional): Which priors may be had, bool, (num_priors,). Defaults to all.

    Returns:
        tuple[Tensor, Tensor]: Box index and prior index of each pair, int64, ordered by box and
        then by prior.
    """
    num_runs, num_pairs = counts
    found = []
    part = (num_pairs.cumsum() - num_pairs) // PAIR_CHUNK
    for chunk in np.split(np.arange(len(num_pairs)), np.flatnonzero(np.diff(part)) + 1):
        if not len(chunk) or not num_pairs[chunk].any():
            continue
        first, last = chunk[0], chunk[-1] + 1
        box, prior = list_pairs(
            Rectangles(*(values[:, first:last] for values in rectangles)),
            int(num_runs[chunk].sum()),
            int(num_pairs[chunk].sum()),
        )
        box += int(first)
        keep = None if free is None else free.index_select(0, prior)
        if reach is not None:
            near = is_near_centre(
                boxes.index_select(1, box),
                points.index_select(1, prior),
                reach.index_select(1, prior),
            )
            keep = near if keep is None else keep & near
        found.append((box, prior) if keep is None else (box[keep], prior[keep]))
    if not found:
        none = torch.zeros(0, dtype=torch.long, device=points.device)
        return none, none
    return torch.cat([box for box, _ in found]), torch.cat([prior for _, prior in found])


def ranks(box: Tensor, values: Tensor, num_boxes: int) -> tuple[Tensor, Tensor]:
    """Order pairs by box, and those of a box by falling values, equal ones as they come.

    Args:
        box (Tensor): Of each pair, int64, in ascending order.
        values (Tensor): Of each pair, float32, >= 0.
        num_boxes (int): Number of boxes.

    Returns:
        tuple[Tensor, Tensor]: Index of the pairs in that order, and the place of each pair in it
        among those of its box, from 0, both int64, (num_pairs,).
    """
    # The bits of a float32 that is not negative sort as the number does.
    falling = torch.iinfo(torch.int32).max - values.view(torch.int32).long()
    order = torch.sort(box.bitwise_left_shift(31).bitwise_or_(falling), stable=True).indices
    count = torch.bincount(box, minlength=num_boxes)
    return order, torch.arange(len(box), device=box.device) - (count.cumsum(0) - count)[box]


def highest(index: Tensor, values: Tensor, box: Tensor, size: int, num_boxes: int) -> Tensor:
    """The box of the largest value for each index, of equal ones the first; -1 for none.

    Args:
        index (Tensor): Of each pair, int64, in [0, size).
        values (Tensor): Of each pair.
        box (Tensor): Of each pair, int64, in [0, num_boxes).
        size, num_boxes (int): See there.

    Returns:
        Tensor: int64, (size,).
    """
    best = values.new_full((size,), -torch.inf).scatter_reduce_(0, index, values, 'amax')
    first = torch.where(values == best[index], box, num_boxes)
    winner = box.new_full((size,), num_boxes).scatter_reduce_(0, index, first, 'amin')
    return torch.where(winner < num_boxes, winner, -1)
