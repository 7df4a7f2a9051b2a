r"""One prior for each box, on candidate pairs (POTO), and its auxiliary one-to-many rule.

The rule (`POTO <https://arxiv.org/abs/2012.03544>`_, section 3.2; reference, DeFCN): of all ways to
give every box one prior and no prior twice, the one with the largest sum of qualities, where
everything but candidates has quality -1.

The identities that the sparse answer rests on: with 1 added to all qualities, pairs that are no
candidates are worth nothing, so that a matching of candidate pairs alone is looked for; and a box
can only ever need as many of its best candidates as there are boxes, since the others can take no
more than one of these each.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from .pairs import highest, ranks


def pair_quality(probs: Tensor, overlaps: Tensor, alpha: float) -> Tensor:
    """``prob^(1 - alpha) * IoU^alpha`` of pairs, from probabilities and IoUs of any one shape."""
    return probs.pow(1 - alpha).mul_(overlaps.pow(alpha))


def match_best(box: Tensor, prior: Tensor, quality: Tensor, num_boxes: int) -> Tensor:
    """The matching of candidate pairs with the largest sum of (quality + 1), found on the host.

    Args:
        box, prior (Tensor): Of each pair, int64, ordered by box, (num_pairs,).
        quality (Tensor): Of each pair, float32, >= 0.
        num_boxes (int): Number of boxes.

    Returns:
        Tensor: The prior of each box, -1 if all its candidates went to others, int64,
        (num_boxes,), on the device of the pairs.
    """
    order, place = ranks(box, quality, num_boxes)
    order = order[place < num_boxes]
    found = np.full(num_boxes, -1)
    if len(order):
        row, column = box[order].cpu().numpy(), prior[order].cpu().numpy()
        gain = quality[order].double().cpu().numpy() + 2
        priors, column = np.unique(column, return_inverse=True)
        # Each box may also stay alone, in a column of its own, which is worth 1 less.
        own = np.arange(num_boxes)
        table = csr_matrix(
            (
                np.r_[gain, np.ones(num_boxes)],
                (np.r_[row, own], np.r_[column, own + len(priors)]),
            ),
            shape=(num_boxes, len(priors) + num_boxes),
        )
        row, column = min_weight_full_bipartite_matching(table, maximize=True)
        found[row] = np.r_[priors, np.full(num_boxes, -1)][column]
    return torch.from_numpy(found).to(box.device)


def match_argmax(
    box: Tensor, prior: Tensor, quality: Tensor, num_boxes: int, num_priors: int
) -> Tensor:
    """Each box wants its best candidate; one that several want goes to the highest quality.

    The others get none. Of equal qualities the first prior, and the first box, comes first.

    Args:
        box, prior, quality, num_boxes: See :func:`match_best`.
        num_priors (int): Number of priors.

    Returns:
        Tensor: The prior of each box, -1 for none, int64, (num_boxes,).
    """
    order, place = ranks(box, quality, num_boxes)
    best = order[place == 0]
    owner = highest(prior[best], quality[best], box[best], num_priors, num_boxes)
    chosen = box.new_full((num_boxes,), -1)
    mine = owner[prior[best]] == box[best]
    chosen[box[best][mine]] = prior[best][mine]
    return chosen


def force_rest(
    chosen: Tensor,
    points: Tensor,
    centres: Tensor,
    quality_of: Callable[[int], Tensor],
    num_priors: int,
) -> Tensor:
    """Give boxes that have none a prior, one after the other, while there are free ones.

    A box takes the free prior of the highest quality, whether candidate or not; of equal ones the
    nearest to its centre, and of equally near ones the first. (In the reference these priors are
    whatever its solver comes upon.)

    Args:
        chosen (Tensor): The prior of each box, -1 for none, int64, (num_boxes,).
        points (Tensor): x, y of the priors, (2, num_priors).
        centres (Tensor): x, y of the boxes' centres, (2, num_boxes).
        quality_of (Callable): Qualities of all priors (num_priors,) for a box index, int.
        num_priors (int): Number of priors.

    Returns:
        Tensor: The prior of each box, int64, (num_boxes,).
    """
    bare = (chosen < 0).nonzero().squeeze(1).tolist()
    bare = bare[: num_priors - (len(chosen) - len(bare))]
    if not bare:
        return chosen
    chosen = chosen.clone()
    taken = torch.zeros(num_priors, dtype=torch.bool, device=chosen.device)
    taken[chosen[chosen >= 0]] = True
    for box in bare:
        quality = quality_of(box).masked_fill(taken, -1.0)
        distance = (points - centres[:, box, None]).square_().sum(0)
        chosen[box] = distance.masked_fill_(quality < quality.max(), torch.inf).argmin()
        taken[chosen[box]] = True
    return chosen


def pick_auxiliary(
    quality: Tensor, inside: Tensor, level_sizes: list[int], topk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Foreground pairs of the auxiliary loss (DeFCN, section 3.4).

    Each box has its ``topk`` best priors of every level; foreground are those of them that lie
    inside it and have at least the mean plus the standard deviation (n - 1) of all their qualities.

    Args:
        quality (Tensor): Of all pairs, (num_boxes, num_priors).
        inside (Tensor): Whether they lie inside, bool, same shape.
        level_sizes (list[int]): Priors a level.
        topk (int): See above; fewer where a level has fewer.

    Returns:
        tuple[Tensor]: Box index, prior index and quality of the foreground pairs, (num_pairs,).
    """
    best = [level.topk(min(topk, level.size(1)), dim=1) for level in quality.split(level_sizes, 1)]
    first = np.cumsum(level_sizes) - level_sizes
    values = torch.cat([one.values for one in best], 1)
    priors = torch.cat([one.indices + int(add) for one, add in zip(best, first, strict=True)], 1)
    spread = values.double().std(1).nan_to_num()  # of a single prior there is none
    threshold = values.double().mean(1).add_(spread).float()
    box, place = ((values >= threshold[:, None]) & inside.gather(1, priors)).nonzero().unbind(1)
    return box, priors[box, place], values[box, place]
