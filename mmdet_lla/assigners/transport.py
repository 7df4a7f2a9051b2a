r"""Sinkhorn's rounds on candidate pairs, and what OTA reads from the plan, in float64.

The rule (`OTA <https://arxiv.org/abs/2103.14259>`_, section 3; reference, ``SinkhornDistance`` and
``get_ground_truth``): boxes supply as many priors as their K, the background the rest, and every
prior demands one. A fixed number of rounds fits first the priors' potentials and then the
suppliers'; each row of the plan is divided by its largest entry, and every prior goes to the
supplier whose quotient is the largest, of equal ones to the lowest index, the background last.

The identities that the sparse answer rests on: a constant on all costs of a prior cancels, so the
background's cost may be taken off and be 0; pairs that are no candidates cost 1e6 more and carry
no mass at all, exp(-1e6 / eps), so that priors without a candidate pair differ in nothing and a
count of them will do; a box without candidates pays the 1e6 everywhere, which its potential takes
up in its first round. Potentials are kept relative to the background's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .pairs import highest, ranks

#: Added to supply and demand under the logarithm (reference, ``SinkhornDistance``).
MARGINAL_EPS = 1e-8

#: Potential of a supplier that takes no part in a round yet.
ABSENT = -1e9

#: Pairs left out may weigh e^-25 of a box's whole row at most, in each round.
TAIL = 25.0


class Plan(NamedTuple):
    """A plan of transport.

    Attributes:
        owner (Tensor): Index of the box each prior goes to, -1 for the background, int64,
            (num_priors,).
        complete (Tensor): Whether the pairs left out could have made no difference, bool, scalar.
    """

    owner: Tensor
    complete: Tensor


def supply_of(overlaps: Tensor, box: Tensor, num_boxes: int, candidate_topk: int) -> Tensor:
    """K of every box: the sum of its largest overlaps, rounded down, at least 1.

    Args:
        overlaps (Tensor): IoU of each candidate pair, float32, >= 0, (num_pairs,).
        box (Tensor): Its box, int64, in ascending order.
        num_boxes (int): Number of boxes.
        candidate_topk (int): How many overlaps are summed, fewer if a box has fewer.

    Returns:
        Tensor: int64, (num_boxes,).
    """
    order, place = ranks(box, overlaps, num_boxes)
    counted = torch.where(place < candidate_topk, overlaps[order], 0.0).double()
    total = torch.zeros(num_boxes, dtype=torch.float64, device=box.device)
    return total.index_add_(0, box, counted).long().clamp_(min=1)


def transport(
    box: Tensor,
    prior: Tensor,
    gain: Tensor,
    supply: Tensor,
    late: Tensor,
    num_priors: int,
    num_free: int,
    rounds: int,
    left_out: Tensor | None = None,
) -> Plan:
    """Sinkhorn's rounds and the decision.

    Args:
        box, prior (Tensor): Indices of the pairs that may carry mass, at least one a box, int64,
            (num_pairs,).
        gain (Tensor): What a pair costs less than leaving its prior to the background, divided by
            epsilon, float64, (num_pairs,).
        supply (Tensor): K of each box, int64, (num_boxes,).
        late (Tensor): Which boxes take no part in the first round, bool, (num_boxes,).
        num_priors (int): Number of priors.
        num_free (int): Number of those that demand a supplier.
        rounds (int): How many rounds, at least 1.
        left_out (Tensor, optional): Logarithm of the most that the pairs of each box which were
            left out may add to the sum of ``exp(gain)`` over its pairs, float64, (num_boxes,).
            Defaults to none left out.

    Returns:
        Plan: The decision.
    """
    num_boxes = len(supply)
    column, pairs_of = _number(prior, num_priors)
    num_columns = len(pairs_of)
    others = num_free - num_columns
    row_mass = (supply + MARGINAL_EPS).log()
    ground_mass = ((num_free - supply.sum()).clamp(min=0) + MARGINAL_EPS).double().log()
    potential = torch.where(late, ABSENT, 0.0).double()
    complete = torch.ones((), dtype=torch.bool, device=box.device)
    for _ in range(rounds):
        # The background's entry of every column is exp(0).
        price = _log_sum_exp(potential[box] + gain, column, num_columns, plus_one=True).neg_()
        value = price[column].add_(gain)
        row = _log_sum_exp(value, box, num_boxes)
        ground = (price.exp().sum() + others).log()
        potential = (row_mass - row) - (ground_mass - ground)
        if left_out is not None:
            complete &= (row >= left_out + TAIL).all()
    # Quotients, as logarithms: exactly 0 at the largest entry of a row.
    top = torch.full_like(row, -torch.inf).scatter_reduce_(0, box, value, 'amax')
    quotient = value - top[box]
    ground = price - (0.0 if others else price.max())
    held = quotient >= ground[column]
    owner = torch.full((num_priors,), -1, device=box.device)
    owner[pairs_of] = highest(column[held], quotient[held], box[held], num_columns, num_boxes)
    return Plan(owner, complete)


def _number(prior: Tensor, num_priors: int) -> tuple[Tensor, Tensor]:
    """Number the priors that occur: the number of each entry, and the prior of each number."""
    occurs = torch.zeros(num_priors, dtype=torch.bool, device=prior.device)
    occurs[prior] = True
    return (occurs.cumsum(0) - 1)[prior], occurs.nonzero().squeeze(1)


def _log_sum_exp(values: Tensor, index: Tensor, size: int, plus_one: bool = False) -> Tensor:
    """Logarithm of the sum of ``exp(values)`` for each index, and of 1 more if ``plus_one``.

    Every index occurs, and the largest entry is taken out of each sum first.
    """
    top = values.new_full((size,), 0.0 if plus_one else -torch.inf)
    top.scatter_reduce_(0, index, values, 'amax')
    total = (-top).exp_() if plus_one else torch.zeros_like(top)
    total.index_add_(0, index, (values - top[index]).exp_())
    return total.log_().add_(top)
