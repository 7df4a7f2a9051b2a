"""K cheapest priors per box, then one box per prior.

The rule (LLA section 3; reference, ``get_lla_assignments_and_losses``): every pair outside its box
costs ``OUTSIDE_PENALTY`` more; every box picks its K cheapest priors; a prior picked once goes to
the box that picked it, a prior picked several times to the cheapest of *all* boxes. Equal costs go
to the lower index.

The identities the sparse answer rests on, both true while no cost reaches the penalty: a pair
inside always beats one outside, so that only boxes with fewer than K priors inside ever look
outside; and a contested prior that lies inside some box is settled among the boxes it lies in.
Where a cost may reach the penalty (a diverged training), every box looks everywhere instead.
"""

from typing import Callable

import numpy as np
import torch
from torch import Tensor

from .candidates import list_pairs

#: What a pair pays when its prior lies outside its box.
OUTSIDE_PENALTY = 1e3

#: Pairs worked on at a time. Bounds the memory whatever the number of boxes.
PAIR_CHUNK = 1 << 18

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
    return (cost.view(torch.int32).long() << 31) | index


def unpack_index(packed: Tensor) -> Tensor:
    """The index that :func:`pack` was given."""
    return packed & ((1 << 31) - 1)


def match(first: Tensor,
          count: Tensor,
          num_inside: list[int],
          num_priors: int,
          topk: int,
          inside_cost: Callable[[Tensor, Tensor], Tensor],
          full_cost: Callable[[Tensor, Tensor], Tensor],
          exhaustive: bool = False) -> Tensor:
    """Give every prior to one box or to the background.

    Args:
        first (Tensor): First prior of each run of inside priors, shape (num_boxes, num_rows).
        count (Tensor): Priors in each run, same shape.
        num_inside (list[int]): Sum of ``count`` over the rows, on the host.
        num_priors (int): Number of priors.
        topk (int): K, the number of priors a box picks.
        inside_cost (Callable): Costs of pairs known to be inside, from a box index and a prior
            index of equal shape. float32, >= 0.
        full_cost (Callable): Costs of any pairs, the outside penalty included, from a box index
            and a prior index that broadcast. float32, >= 0.
        exhaustive (bool): Whether costs may reach the penalty.

    Returns:
        Tensor: Index of the box each prior went to, -1 for the background, int64, shape
        (num_priors,).
    """
    topk = min(topk, num_priors)
    inside = np.asarray(num_inside, dtype=np.int64)
    short = np.full(len(inside), True) if exhaustive else inside < topk
    best = count.new_full((num_priors, ), NO_PAIR)
    picks = [
        _pick_inside(first[a:b], count[a:b], inside[a:b], ~short[a:b], a, topk, inside_cost, best)
        for a, b in _chunks(inside, PAIR_CHUNK) if not exhaustive
    ]
    short_boxes = torch.from_numpy(short.nonzero()[0]).to(count.device)
    for boxes in short_boxes.split(max(PAIR_CHUNK // num_priors, 1)):
        picks.append(_pick_anywhere(boxes, num_priors, topk, full_cost))

    box, prior = (torch.cat(index) for index in zip(*picks))
    wanted = torch.bincount(prior, minlength=num_priors)
    owner = count.new_full((num_priors, ), -1)
    owner[prior] = box
    owner = torch.where((wanted > 1) & (best != NO_PAIR), unpack_index(best), owner)
    if short.any():
        contested = ((wanted > 1) & (best == NO_PAIR)).nonzero().squeeze(1)
        for priors in contested.split(max(PAIR_CHUNK // len(inside), 1)):
            owner[priors] = _cheapest_of_all(priors, len(inside), full_cost)
    return owner


def _chunks(sizes: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Cut a list into ranges whose sizes sum to about ``limit`` at most."""
    part = (sizes.cumsum() - sizes) // limit
    cuts = [0, *(np.diff(part).nonzero()[0] + 1).tolist(), len(sizes)]
    return list(zip(cuts[:-1], cuts[1:]))


def _pick_inside(first: Tensor, count: Tensor, num_inside: np.ndarray, picking: np.ndarray,
                 offset: int, topk: int, cost_fn: Callable,
                 best: Tensor) -> tuple[Tensor, Tensor]:
    """Picks of the boxes that have K priors inside; notes in ``best`` each prior's cheapest box."""
    box, prior = list_pairs(first, count, int(num_inside.sum()))
    box += offset
    cost = cost_fn(box, prior)
    best.scatter_reduce_(0, prior, pack(cost, box), 'amin')
    # The pairs stand box by box and prior by prior: a stable sort leaves ties in that order.
    order = torch.sort((box << 31) | cost.view(torch.int32), stable=True).indices
    start = torch.from_numpy((num_inside.cumsum() - num_inside)[picking]).to(count.device)
    taken = order[(start.unsqueeze(1) + torch.arange(topk, device=count.device)).flatten()]
    return box[taken], prior[taken]


def _pick_anywhere(boxes: Tensor, num_priors: int, topk: int,
                   cost_fn: Callable) -> tuple[Tensor, Tensor]:
    """Picks of boxes that look at every prior."""
    priors = torch.arange(num_priors, device=boxes.device)
    packed = pack(cost_fn(boxes.unsqueeze(1), priors), priors)
    prior = unpack_index(packed.topk(topk, dim=1, largest=False).values)
    return boxes.repeat_interleave(topk), prior.flatten()


def _cheapest_of_all(priors: Tensor, num_boxes: int, cost_fn: Callable) -> Tensor:
    """The cheapest box of each prior."""
    boxes = torch.arange(num_boxes, device=priors.device)
    return unpack_index(pack(cost_fn(boxes, priors.unsqueeze(1)), boxes).amin(1))
