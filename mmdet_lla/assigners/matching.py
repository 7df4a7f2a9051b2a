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

The boxes of all pictures of a batch are one list, and so are their pairs: a batch takes as many
calls as a picture. The host learns the sizes of everything at once, before, and says what to take
from where in one copy a step.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .candidates import TABLE_CHUNK, Rectangles, chunk_size, list_pairs
from .costs import PairCosts, pair_iou

#: What a pair pays when its prior lies outside its box.
OUTSIDE_PENALTY = 1e3

#: Pairs inside worked on at a time. Bounds the memory whatever the number of boxes.
PAIR_CHUNK = 1 << 16

#: What a pick adds to the tally of a prior, beside the box that picks.
PICK = 1 << 31

#: Sorts behind every packed pair.
NO_PAIR = torch.iinfo(torch.int64).max


class Boxes(NamedTuple):
    """The boxes of a batch, picture by picture, as the host knows them.

    Attributes:
        picture (np.ndarray): Picture of each box, int64, shape (num_boxes,), in order.
        num_pictures (int): Number of pictures.
        places (Tensor): 0, 1, ... for the priors of a picture, int64, shape (num_priors,).
        topk (np.ndarray): K, the number of priors that each box picks, at most as many as it may;
            int64, shape (num_boxes,).
    """

    picture: np.ndarray
    num_pictures: int
    places: Tensor
    topk: np.ndarray

    @property
    def num_priors(self) -> int:
        return len(self.places)

    @property
    def device(self) -> torch.device:
        return self.places.device


class FreePriors(NamedTuple):
    """The priors that may be picked, where not all may.

    Attributes:
        priors (Tensor): Index in the batch of each picture's free priors in order, int64, shape
            (num_pictures, the most that are free in a picture), filled up with others.
        sizes (np.ndarray): How many they are, int64, shape (num_pictures,).
    """

    priors: Tensor
    sizes: np.ndarray


def pack(cost: Tensor, index: Tensor) -> Tensor:
    """Cost and index in one integer that sorts by cost first, by index where costs are equal.

    The bits of a float32 that is not negative sort as the number does.

    Args:
        cost (Tensor): float32, >= 0.
        index (Tensor): int64 in [0, 2^31), broadcast against ``cost``.

    Returns:
        Tensor: int64, of the broadcast shape.
    """
    return torch.add(index, cost.view(torch.int32), alpha=1 << 31)


def unpack_index(packed: Tensor) -> Tensor:
    """The index that :func:`pack` was given."""
    return packed & ((1 << 31) - 1)


def free_priors(barred: Tensor, count: np.ndarray) -> FreePriors:
    """List the priors of pictures that are not barred.

    Args:
        barred (Tensor): bool, shape (num_pictures, num_priors).
        count (np.ndarray): How many of each picture are not; handing it over spares a
            synchronisation.
    """
    order = barred.sort(dim=1, stable=True).indices[:, : count.max()]
    first = torch.arange(len(order), device=barred.device).unsqueeze(1) * barred.size(1)
    return FreePriors(order + first, count)


def dynamic_topk(
    costs: PairCosts, boxes: Boxes, candidate_topk: int, free: FreePriors | None = None
) -> Tensor:
    """K of every box: the sum of its largest IoUs, rounded down, at least 1 (SimOTA).

    Args:
        costs (PairCosts): Predicted and true boxes.
        boxes (Boxes): The boxes; ``topk`` is not looked at.
        candidate_topk (int): How many IoUs are summed, fewer if there are fewer predictions.
        free (FreePriors, optional): The priors that may be picked. Defaults to all.

    Returns:
        Tensor: int64, shape (num_boxes,).
    """
    best = []
    for some in _table_chunks(np.arange(len(boxes.picture)), boxes, free):
        picture = boxes.picture[some]
        count = picture if free is None else free.sizes[picture]
        box, picture, count = to_device(boxes.device, some, picture, count)
        prior, filler = _looked_at(boxes, free, picture, count)
        ious = pair_iou(costs.preds_of(picture, prior), costs.boxes.index_select(1, box)[..., None])
        if filler is not None:
            ious.masked_fill_(filler, 0)
        best.append(ious.topk(min(candidate_topk, ious.size(1)), dim=1).values.T)
    return torch.cat(best, 1).sum(0).long().clamp_(min=1)


def match(
    rectangles: Rectangles | None,
    num_runs: np.ndarray,
    num_inside: np.ndarray,
    boxes: Boxes,
    costs: PairCosts,
    free: FreePriors | None = None,
    contested: str = 'all',
    ties: str = 'lower',
) -> Tensor:
    """Give every prior to one box or to the background. The host waits for the device nowhere.

    Priors are named by their index in the batch, ``picture * num_priors + prior``.

    Args:
        rectangles (Rectangles, optional): The priors inside each box; None if every box is to look
            everywhere, since costs may reach the penalty, or others than the pairs in the
            rectangles go without it.
        num_runs, num_inside (np.ndarray): Rows of the rectangles, and priors in them, a box; int64,
            shape (num_boxes,). Not looked at without rectangles.
        boxes (Boxes): The boxes and how many priors each picks.
        costs (PairCosts): What pairs cost.
        free (FreePriors, optional): The priors that may be picked; they need ``rectangles`` to be
            None. Defaults to all.
        contested (str): Whether a prior picked several times goes to the cheapest of 'all' boxes
            or of those that 'picked' it. Defaults to 'all'.
        ties (str): Whether a box picks of equally cheap priors the one of 'lower' index or that
            which ``torch.topk`` happens to take ('topk', needs ``rectangles`` to be None).
            Defaults to 'lower'.

    Returns:
        Tensor: Index of the box each prior went to, num_boxes for the background, int64, shape
        (num_pictures * num_priors,).
    """
    if rectangles is None:
        num_inside = np.zeros_like(boxes.topk)
    # Boxes pick the cheapest inside them, and what lacks from among all priors.
    from_inside = np.minimum(num_inside, boxes.topk)
    lacking = boxes.topk - from_inside
    ledger = _Ledger(boxes, contested)
    for some in _table_chunks(lacking.nonzero()[0], boxes, free):
        _pick_anywhere(some, from_inside[some], boxes, costs, free, ties, ledger)

    # Contested priors that lie in no box: only picks from among all can be such, and each at least
    # twice. These few are looked at by all boxes of their picture.
    num_rivals, rivals = 0, None
    if contested == 'all':
        picks = np.bincount(boxes.picture, lacking, boxes.num_pictures).astype(np.int64)
        num_rivals = min(int(picks.max()) // 2, boxes.num_priors)
    if num_rivals:
        rivals = ledger.most_wanted(num_rivals)

    for a, b in _chunks(num_inside + num_rivals, chunk_size(PAIR_CHUNK, boxes.device)):
        size, take = num_inside[a:b], from_inside[a:b]
        place, pick, number, picture = to_device(
            boxes.device,
            (size.cumsum() - size).repeat(take) + _count_up(take),
            ledger.entries(np.arange(a, b).repeat(take)),
            np.arange(a, b),
            boxes.picture[a:b],
        )
        pairs, known = [], int(size.sum())
        if rectangles is not None and known:
            part = Rectangles(*(values[:, a:b] for values in rectangles))
            pairs.append(list_pairs(part, int(num_runs[a:b].sum()), known, a))
        if rivals is not None:
            prior = rivals.index_select(0, picture)
            prior.add_(picture.unsqueeze(1), alpha=boxes.num_priors)
            pairs.append((number.unsqueeze(1).expand_as(prior).flatten(), prior.flatten()))
        if not pairs:
            continue
        box, prior = pairs[0] if len(pairs) == 1 else map(torch.cat, zip(*pairs, strict=True))
        cost = costs.of_pairs(box, prior)
        if rivals is not None:
            exhaustive = rectangles is None
            cost[known:].add_(
                costs.penalty_of(box[known:], prior[known:]) if exhaustive else costs.penalty
            )
        if contested == 'all':
            ledger.weigh(box, prior, cost)
        if known:
            # The pairs stand box by box and prior by prior: a stable sort leaves ties in order.
            bits = cost[:known].view(torch.int32)
            order = torch.add(bits, box[:known], alpha=1 << 31).sort(stable=True).indices
            place = order.index_select(0, place)
            ledger.pick(pick, prior.index_select(0, place), cost, place)
    return ledger.owners()


class _Ledger:
    """Which boxes pick a prior, and the cheapest of those that were weighed.

    A prior's tally begins as num_boxes. A pick adds ``PICK`` and turns num_boxes into the box that
    picks; of several picks, the box is nonsense.
    """

    def __init__(self, boxes: Boxes, contested: str) -> None:
        self.num_boxes, self.num_pictures = len(boxes.topk), boxes.num_pictures
        self.contested = contested
        size = boxes.num_pictures * boxes.num_priors
        self.best = torch.full((size,), NO_PAIR, device=boxes.device)
        self.tally = torch.full_like(self.best, self.num_boxes)

    def entries(self, box: np.ndarray) -> np.ndarray:
        """What picks by boxes add to tallies."""
        return box + (PICK - self.num_boxes)

    def pick(self, entry: Tensor, prior: Tensor, cost: Tensor, at: Tensor | tuple) -> None:
        """Note picks, given by :meth:`entries`, of priors, at ``cost[at]``."""
        if self.contested == 'all':
            self.tally.scatter_add_(0, prior, entry)
        else:
            self.weigh(entry - (PICK - self.num_boxes), prior, cost[at])

    def weigh(self, box: Tensor, prior: Tensor, cost: Tensor) -> None:
        """Let boxes compete for priors, should these be contested."""
        self.best.scatter_reduce_(0, prior, pack(cost, box), 'amin')

    def most_wanted(self, number: int) -> Tensor:
        """Priors of each picture that were picked most often, (num_pictures, number)."""
        return self.tally.view(self.num_pictures, -1).topk(number, dim=1).indices

    def owners(self) -> Tensor:
        """The box that each prior goes to, num_boxes for the background."""
        if self.contested == 'all':
            several = self.tally > PICK + self.num_boxes
            return unpack_index(torch.where(several, self.best, self.tally))
        return torch.where(self.best == NO_PAIR, self.num_boxes, unpack_index(self.best))


def _pick_anywhere(
    some: np.ndarray,
    have: np.ndarray,
    boxes: Boxes,
    costs: PairCosts,
    free: FreePriors | None,
    ties: str,
    ledger: _Ledger,
) -> None:
    """Let some boxes pick from among all priors; they have the cheapest few already."""
    topk, picture = boxes.topk[some], boxes.picture[some]
    most, lacking = int(topk.max()), topk - have
    row = np.arange(len(some)).repeat(lacking)
    width = np.full_like(some, boxes.num_priors) if free is None else free.sizes[picture]
    box, picture_of, width_of, row_of, place, home, pick = to_device(
        boxes.device,
        some,
        picture,
        width,
        row,
        row * most + have[row] + _count_up(lacking),
        picture[row],
        ledger.entries(some[row]),
    )
    prior, filler = _looked_at(boxes, free, picture_of, width_of)
    cost = costs.of_table(box, picture_of, prior)
    if filler is not None:
        cost.masked_fill_(filler, torch.inf)
    if ties == 'lower':
        packed = pack(cost, boxes.places[: cost.size(1)])
        packed = packed.topk(most, dim=1, largest=False).values
        place = unpack_index(packed.flatten().index_select(0, place))
    else:
        place = _cheapest_by_torch(cost, width, topk)
    if free is None:
        prior = torch.add(place, home, alpha=boxes.num_priors)
    else:
        prior = free.priors[home, place]
    ledger.pick(pick, prior, cost, (row_of, place))


def _table_chunks(numbers: np.ndarray, boxes: Boxes, free: FreePriors | None) -> list[np.ndarray]:
    """Cut boxes into parts whose tables are not too large."""
    width = boxes.num_priors if free is None else free.priors.size(1)
    step = max(chunk_size(TABLE_CHUNK, boxes.device) // max(width, 1), 1)
    return [numbers[start : start + step] for start in range(0, len(numbers), step)]


def _looked_at(
    boxes: Boxes, free: FreePriors | None, picture: Tensor, count: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The priors (in the batch) that boxes of some pictures may look at, and which are filler.

    ``count`` is how many are not. None for all priors; None for no filler.
    """
    if free is None:
        return None, None
    if boxes.num_pictures == 1:
        return free.priors, None
    filler = boxes.places[: free.priors.size(1)] >= count.unsqueeze(1)
    return free.priors.index_select(0, picture), filler


def _cheapest_by_torch(cost: Tensor, width: np.ndarray, topk: np.ndarray) -> Tensor:
    """Where in each row of a table those stand that ``torch.topk`` takes of its first ``width``."""
    return torch.cat(
        [
            values[:most].topk(count, largest=False).indices
            for values, most, count in zip(cost, width.tolist(), topk.tolist(), strict=True)
        ]
    )


def _chunks(sizes: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Cut a list into ranges whose sizes sum to about ``limit`` at most."""
    part = (sizes.cumsum() - sizes) // limit
    cuts = [0, *(np.diff(part).nonzero()[0] + 1).tolist(), len(sizes)]
    return list(pairwise(cuts))


def _count_up(sizes: np.ndarray) -> np.ndarray:
    """0, 1, ... for every size."""
    return np.arange(sizes.sum()) - (sizes.cumsum() - sizes).repeat(sizes)


def to_device(device: torch.device, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Indices for the device, in one copy that the host does not wait for."""
    flat = torch.from_numpy(np.concatenate(arrays)).to(device, non_blocking=True)
    return flat.split([len(array) for array in arrays])
