"""K cheapest priors per box, then one box per prior.

The rule (LLA section 3; reference, ``get_lla_assignments_and_losses``): every pair outside its box
costs ``OUTSIDE_PENALTY`` more; every box picks its K cheapest priors; a prior picked once goes to
the box that picked it, a prior picked several times to the cheapest of *all* boxes. Equal costs go
to the lower index. SimOTA has another K for every box, see :func:`dynamic_topk`.

The identities the sparse answer rests on, both true while no cost reaches the penalty: a pair
inside always beats one outside, so that only boxes with fewer than K priors inside ever look
outside; and a contested prior that lies inside some box is settled among the boxes it lies in.
Where a cost may reach the penalty (a diverged training), or other pairs than those inside go
without it, every box looks everywhere instead.
"""

from itertools import pairwise
from typing import Callable, Optional

import numpy as np
import torch
from torch import Tensor

from .candidates import TABLE_CHUNK, Rectangles, list_pairs
from .costs import pair_iou

#: What a pair pays when its prior lies outside its box.
OUTSIDE_PENALTY = 1e3

#: Pairs inside worked on at a time. Bounds the memory whatever the number of boxes.
PAIR_CHUNK = 1 << 17

#: Sorts behind every packed pair.
NO_PAIR = torch.iinfo(torch.int64).max


def pack(cost: Tensor, index: Tensor) -> Tensor:
    """Cost and index in one integer that sorts by cost first, by index where costs are equal.

    The bits of a float32 that is not negative sort as the number does.

    Args:
        cost (Tensor): float32, >= 0.
        index (Tensor): int64 in [0, 2^31), broadcast against ``cost``.

    Returns:
        Tensor: int64, of the broadcast shape.
    """
    return cost.view(torch.int32).long().bitwise_left_shift_(31).bitwise_or_(index)


def unpack_index(packed: Tensor) -> Tensor:
    """The index that :func:`pack` was given."""
    return packed & ((1 << 31) - 1)


def dynamic_topk(preds: Tensor, boxes: Tensor, candidate_topk: int) -> np.ndarray:
    """K of every box: the sum of its largest IoUs, rounded down, at least 1 (SimOTA).

    Args:
        preds, boxes (Tensor): Predicted boxes that may be picked, at least one, and true boxes,
            see :func:`with_area`, shapes (5, num_preds) and (5, num_boxes).
        candidate_topk (int): How many IoUs are summed, fewer if there are fewer predictions.

    Returns:
        np.ndarray: int64, shape (num_boxes,), on the host.
    """
    num_preds = preds.size(1)
    best = [
        pair_iou(preds, part).topk(min(candidate_topk, num_preds), dim=1).values.T
        for part in boxes.unsqueeze(-1).split(max(TABLE_CHUNK // num_preds, 1), 1)
    ]
    return torch.cat(best, 1).sum(0).long().clamp_(min=1).cpu().numpy()


def match(
    rectangles: Rectangles,
    num_runs: list[int],
    num_inside: list[int],
    num_priors: int,
    topk: np.ndarray,
    pair_cost: Callable[[Tensor, Tensor], Tensor],
    table_cost: Callable[[Tensor, Optional[Tensor]], Tensor],
    exhaustive: bool = False,
    free: Optional[Tensor] = None,
    contested: str = 'all',
    ties: str = 'lower',
) -> Tensor:
    """Give every prior to one box or to the background. The host waits for the device nowhere.

    Args:
        rectangles (Rectangles): The priors inside each box.
        num_runs, num_inside (list[int]): Rows of the rectangles, and priors in them, a box.
        num_priors (int): Number of priors.
        topk (np.ndarray): K, the number of priors that each box picks, at most as many as it may.
        pair_cost (Callable): Costs of pairs known to be inside, from a box index and a prior
            index of shape (num_pairs,). float32, >= 0.
        table_cost (Callable): Costs of boxes x priors, the outside penalty included, from a box
            index and a prior index (None for all). float32, >= 0.
        exhaustive (bool): Whether every box looks everywhere: costs may reach the penalty, or
            others than the pairs in the rectangles go without it. Defaults to False.
        free (Tensor, optional): Index of the priors that may be picked; needs ``exhaustive``.
            Defaults to all.
        contested (str): Whether a prior picked several times goes to the cheapest of 'all' boxes
            or of those that 'picked' it. Defaults to 'all'.
        ties (str): Whether a box picks of equally cheap priors the one of 'lower' index or that
            which ``torch.topk`` happens to take ('topk', needs ``exhaustive``). Defaults to
            'lower'.

    Returns:
        Tensor: Index of the box each prior went to, -1 for the background, int64, shape
        (num_priors,).
    """
    device = rectangles.first.device
    runs, inside = np.asarray(num_runs), np.asarray(num_inside)
    if exhaustive:
        runs, inside = runs * 0, inside * 0
    short = inside < topk
    best = torch.full((num_priors,), NO_PAIR, device=device)
    picks = []
    for a, b in _chunks(inside, PAIR_CHUNK):
        if inside[a:b].any():
            box, prior = list_pairs(
                Rectangles(*(part[a:b] for part in rectangles)),
                int(runs[a:b].sum()),
                int(inside[a:b].sum()),
            )
            picks.append(
                _pick_inside(
                    box.add_(a), prior, inside[a:b], np.where(short, 0, topk)[a:b], pair_cost, best
                )
            )
    short_boxes = short.nonzero()[0]
    step = max(TABLE_CHUNK // (num_priors if free is None else len(free)), 1)
    for start in range(0, len(short_boxes), step):
        boxes = short_boxes[start : start + step]
        picks.append(_pick_anywhere(_to(device, boxes), topk[boxes], table_cost, free, ties))

    box, prior, cost = (torch.cat(part) for part in zip(*picks, strict=True))
    if contested == 'picked':
        best = torch.full_like(best, NO_PAIR).scatter_reduce_(0, prior, pack(cost, box), 'amin')
        return torch.where(best == NO_PAIR, -1, unpack_index(best))
    wanted = torch.zeros_like(best).scatter_add_(0, prior, torch.ones_like(prior))
    owner = torch.full_like(best, -1).scatter_(0, prior, box)
    several = wanted > 1
    owner = torch.where(several & (best != NO_PAIR), unpack_index(best), owner)

    # Contested priors inside no box: short boxes alone pick such, each at least two of them.
    outside = several & (best == NO_PAIR)
    at_most = min(int((topk - inside)[short].sum()) // 2, num_priors)
    for priors in outside.int().topk(at_most).indices.split(max(TABLE_CHUNK // len(inside), 1)):
        cheapest = _cheapest_of_all(priors, len(inside), table_cost)
        owner[priors] = torch.where(outside[priors], cheapest, owner[priors])
    return owner


def _chunks(sizes: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Cut a list into ranges whose sizes sum to about ``limit`` at most."""
    part = (sizes.cumsum() - sizes) // limit
    cuts = [0, *(np.diff(part).nonzero()[0] + 1).tolist(), len(sizes)]
    return list(pairwise(cuts))


def _pick_inside(
    box: Tensor,
    prior: Tensor,
    num_inside: np.ndarray,
    topk: np.ndarray,
    cost_fn: Callable,
    best: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Picks of boxes inside them; notes in ``best`` the cheapest box of each prior."""
    cost = cost_fn(box, prior)
    best.scatter_reduce_(0, prior, pack(cost, box), 'amin')
    # The pairs stand box by box and prior by prior: a stable sort leaves ties in that order.
    order = torch.sort((box << 31).bitwise_or_(cost.view(torch.int32)), stable=True).indices
    first = (num_inside.cumsum() - num_inside).repeat(topk)
    taken = order[_to(box.device, first + _count_up(topk))]
    return box[taken], prior[taken], cost[taken]


def _pick_anywhere(
    boxes: Tensor, topk: np.ndarray, cost_fn: Callable, free: Optional[Tensor], ties: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Picks of boxes that look at every prior that is free."""
    cost = cost_fn(boxes, free)
    row = _to(boxes.device, np.arange(len(topk)).repeat(topk))
    if ties == 'lower':
        packed = pack(cost, torch.arange(cost.size(1), device=boxes.device))
        cheapest = packed.topk(int(topk.max()), dim=1, largest=False).values
        place = unpack_index(cheapest[row, _to(boxes.device, _count_up(topk))])
    else:
        place = torch.cat(
            [
                values.topk(k, largest=False).indices
                for values, k in zip(cost, topk.tolist(), strict=True)
            ]
        )
    prior = place if free is None else free[place]
    return boxes[row], prior, cost[row, place]


def _count_up(sizes: np.ndarray) -> np.ndarray:
    """0, 1, ... for every size."""
    return np.arange(sizes.sum()) - (sizes.cumsum() - sizes).repeat(sizes)


def _to(device: torch.device, index: np.ndarray) -> Tensor:
    return torch.from_numpy(index).to(device, non_blocking=True)


def _cheapest_of_all(priors: Tensor, num_boxes: int, cost_fn: Callable) -> Tensor:
    """The cheapest box of each prior."""
    boxes = torch.arange(num_boxes, device=priors.device)
    return unpack_index(pack(cost_fn(boxes, priors), boxes.unsqueeze(1)).amin(0))
