"""Match priors to gts: each gt takes its K cheapest priors, then each prior keeps one gt.

The rule (LLA section 3; reference code, ``get_lla_assignments_and_losses``): every pair whose prior
lies outside the gt costs ``OUTSIDE_PENALTY`` more. Every gt takes its K cheapest priors. A prior
taken once is matched to that gt; a *contested* prior, taken several times, is matched to the
cheapest of *all* gts. Equal costs go to the lower index. :mod:`.reference` spells this out on full
tables.

The sparse result is the same because of two facts, true while no cost reaches the penalty. A pair
inside always beats one outside, so only gts with fewer than K priors inside ever need others. And a
contested prior that lies inside some gt is decided among the gts it lies in. Where a cost may reach
the penalty (a diverged training), or other pairs than those inside pay none, every gt is compared
with every prior instead.

The gts of all images form one list, and so do their pairs, so a batch takes as many calls as one
image. All sizes are copied to the host once, before; the host sends index arrays to the device in
one copy per step and never waits for it here.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .candidates import TABLE_CHUNK, Rectangles, chunk_size, list_pairs, ranges
from .costs import PairCosts
from .geometry import pair_iou

#: Added to the cost of a pair whose prior lies outside the gt.
OUTSIDE_PENALTY = 1e3

#: Inside pairs per chunk. Bounds the memory whatever the number of gts.
PAIR_CHUNK = 1 << 16

#: Added to the match code of a prior each time a gt takes it, beside the index of the gt.
TAKEN = 1 << 31

#: Sorts behind every packed pair.
NO_PAIR = torch.iinfo(torch.int64).max


class GtIndex(NamedTuple):
    """Image and K of each gt of a batch, known on the host.

    Attributes:
        img_inds (np.ndarray): Image of each gt, int64, shape (num_gts,), in order.
        num_imgs (int): Number of images.
        prior_inds (Tensor): 0, 1, ... for the priors of an image, int64, shape (num_priors,).
        topk (np.ndarray): K of each gt, at most the number of priors it may take; int64, shape
            (num_gts,).
    """

    img_inds: np.ndarray
    num_imgs: int
    prior_inds: Tensor
    topk: np.ndarray

    @property
    def num_priors(self) -> int:
        return len(self.prior_inds)

    @property
    def device(self) -> torch.device:
        return self.prior_inds.device


class AllowedPriors(NamedTuple):
    """The priors that may be taken, where some are excluded.

    Attributes:
        priors (Tensor): Index in the batch of the allowed priors of each image in order, int64,
            shape (num_imgs, largest count), padded with others.
        counts (np.ndarray): Number of allowed priors, int64, shape (num_imgs,).
    """

    priors: Tensor
    counts: np.ndarray


def pack(cost: Tensor, index: Tensor) -> Tensor:
    """Pack cost and index into one integer that sorts by cost first and then by index.

    The bits of a non-negative float32 sort as the number does.

    Args:
        cost (Tensor): float32, >= 0.
        index (Tensor): int64 in [0, 2^31), broadcast against ``cost``.

    Returns:
        Tensor: int64, of the broadcast shape.

    >>> packed = pack(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([0, 2, 1]))
    >>> unpack_index(packed.sort().values).tolist()
    [1, 2, 0]
    """
    return torch.add(index, cost.view(torch.int32), alpha=1 << 31)


def unpack_index(packed: Tensor) -> Tensor:
    """Return the index that :func:`pack` was given."""
    return packed & ((1 << 31) - 1)


def list_allowed(excluded: Tensor, counts: np.ndarray) -> AllowedPriors:
    """List the priors that are not excluded.

    Args:
        excluded (Tensor): bool, shape (num_imgs, num_priors).
        counts (np.ndarray): Allowed priors per image; passing it saves a synchronization.
    """
    order = excluded.sort(dim=1, stable=True).indices[:, : counts.max()]
    first = torch.arange(len(order), device=excluded.device).unsqueeze(1) * excluded.size(1)
    return AllowedPriors(order + first, counts)


def compute_dynamic_topk(
    costs: PairCosts, gts: GtIndex, candidate_topk: int, allowed: AllowedPriors | None = None
) -> Tensor:
    """Compute K of every gt: the sum of its largest IoUs, rounded down, at least 1 (SimOTA).

    Args:
        costs (PairCosts): Predicted boxes and gts.
        gts (GtIndex): The gts; ``topk`` is unused.
        candidate_topk (int): How many IoUs are summed, fewer if there are fewer predictions.
        allowed (AllowedPriors, optional): The priors that may be taken. Defaults to all.

    Returns:
        Tensor: int64, shape (num_gts,).
    """
    best = []
    for part in _table_chunks(np.arange(len(gts.img_inds)), gts, allowed):
        img_inds = gts.img_inds[part]
        count = img_inds if allowed is None else allowed.counts[img_inds]
        gt, img, count = to_device(gts.device, part, img_inds, count)
        prior, padding = _compared_priors(gts, allowed, img, count)
        ious = pair_iou(costs.select_preds(img, prior), costs.gts.index_select(1, gt)[..., None])
        if padding is not None:
            ious.masked_fill_(padding, 0)
        best.append(ious.topk(min(candidate_topk, ious.size(1)), dim=1).values.T)
    return torch.cat(best, 1).sum(0).long().clamp_(min=1)


def match(
    rectangles: Rectangles | None,
    num_runs: np.ndarray,
    num_inside: np.ndarray,
    gts: GtIndex,
    costs: PairCosts,
    allowed: AllowedPriors | None = None,
    contested: str = 'all',
) -> Tensor:
    """Match every prior to one gt or to background, without synchronizing with the device.

    Priors are named by their index in the batch, ``img * num_priors + prior``.

    Args:
        rectangles (Rectangles, optional): The priors inside each gt; None to compare every gt with
            every prior, because costs may reach the penalty or other pairs than those in the
            rectangles pay none.
        num_runs, num_inside (np.ndarray): Rows of the rectangles of each gt, and priors in them;
            int64, shape (num_gts,). Unused without rectangles.
        gts (GtIndex): The gts and how many priors each takes.
        costs (PairCosts): Costs of pairs.
        allowed (AllowedPriors, optional): The priors that may be taken; requires ``rectangles`` to
            be None. Defaults to all.
        contested (str): Whether a contested prior goes to the cheapest of 'all' gts or of those
            that 'picked' it. Defaults to 'all'.

    Returns:
        Tensor: Index of the gt matched to each prior, num_gts for background, int64, shape
        (num_imgs * num_priors,).
    """
    if rectangles is None:
        num_inside = np.zeros_like(gts.topk)
    # Each gt takes its cheapest inside priors first and fills up to K from all priors.
    from_inside = np.minimum(num_inside, gts.topk)
    remaining = gts.topk - from_inside
    matches = _PriorMatches(gts, contested)
    for part in _table_chunks(remaining.nonzero()[0], gts, allowed):
        _take_from_all(part, from_inside[part], gts, costs, allowed, matches)

    # Contested priors that lie in no gt were taken from all priors, each at least twice. These few
    # are compared with all gts of their image.
    num_contested, contested_priors = 0, None
    if contested == 'all':
        taken = np.bincount(gts.img_inds, remaining, gts.num_imgs).astype(np.int64)
        num_contested = min(int(taken.max()) // 2, gts.num_priors)
    if num_contested:
        contested_priors = matches.most_taken(num_contested)

    for a, b in _chunks(num_inside + num_contested, chunk_size(PAIR_CHUNK, gts.device)):
        size, take = num_inside[a:b], from_inside[a:b]
        index, code, gt_of_row, img_inds = to_device(
            gts.device,
            (size.cumsum() - size).repeat(take) + ranges(take),
            matches.codes(np.arange(a, b).repeat(take)),
            np.arange(a, b),
            gts.img_inds[a:b],
        )
        pairs, num_listed = [], int(size.sum())
        if rectangles is not None and num_listed:
            chunk = Rectangles(*(values[:, a:b] for values in rectangles))
            pairs.append(list_pairs(chunk, int(num_runs[a:b].sum()), num_listed, a))
        if contested_priors is not None:
            prior = contested_priors.index_select(0, img_inds)  # (b - a, num_contested)
            prior.add_(img_inds.unsqueeze(1), alpha=gts.num_priors)
            pairs.append((gt_of_row.unsqueeze(1).expand_as(prior).flatten(), prior.flatten()))
        if not pairs:
            continue
        gt, prior = pairs[0] if len(pairs) == 1 else map(torch.cat, zip(*pairs, strict=True))
        cost = costs.compute_pair_costs(gt, prior)  # (num_pairs,)
        if contested_priors is not None:
            exhaustive = rectangles is None
            cost[num_listed:].add_(
                costs.compute_penalties(gt[num_listed:], prior[num_listed:])
                if exhaustive
                else costs.penalty
            )
        if contested == 'all':
            matches.compete(gt, prior, cost)
        if num_listed:
            # Pairs are listed gt by gt and prior by prior: a stable sort keeps ties in order.
            bits = cost[:num_listed].view(torch.int32)
            order = torch.add(bits, gt[:num_listed], alpha=1 << 31).sort(stable=True).indices
            index = order.index_select(0, index)
            matches.take(code, prior.index_select(0, index), cost, index)
    return matches.matched_gts()


class _PriorMatches:
    """How often each prior was taken and by which gt, and the cheapest gt that competes for it.

    The match code of a prior starts at num_gts. Being taken adds ``TAKEN`` and turns num_gts into
    the index of the gt; taken several times, the index is meaningless and the costs decide.
    """

    def __init__(self, gts: GtIndex, contested: str) -> None:
        self.num_gts, self.num_imgs = len(gts.topk), gts.num_imgs
        self.contested = contested
        size = gts.num_imgs * gts.num_priors
        self.best = torch.full((size,), NO_PAIR, device=gts.device)
        self.match_codes = torch.full_like(self.best, self.num_gts)

    def codes(self, gt: np.ndarray) -> np.ndarray:
        """Return what being taken by gts adds to match codes."""
        return gt + (TAKEN - self.num_gts)

    def take(self, code: Tensor, prior: Tensor, cost: Tensor, at: Tensor | tuple) -> None:
        """Record that gts, given by :meth:`codes`, take priors at ``cost[at]``."""
        if self.contested == 'all':
            self.match_codes.scatter_add_(0, prior, code)
        else:
            self.compete(code - (TAKEN - self.num_gts), prior, cost[at])

    def compete(self, gt: Tensor, prior: Tensor, cost: Tensor) -> None:
        """Let gts compete for priors, in case these are contested."""
        self.best.scatter_reduce_(0, prior, pack(cost, gt), 'amin')

    def most_taken(self, number: int) -> Tensor:
        """Find the priors of each image that were taken most often, (num_imgs, number)."""
        return self.match_codes.view(self.num_imgs, -1).topk(number, dim=1).indices

    def matched_gts(self) -> Tensor:
        """Return the gt matched to each prior, num_gts for background."""
        if self.contested == 'all':
            is_contested = self.match_codes > TAKEN + self.num_gts
            return unpack_index(torch.where(is_contested, self.best, self.match_codes))
        return torch.where(self.best == NO_PAIR, self.num_gts, unpack_index(self.best))


def _take_from_all(
    part: np.ndarray,
    from_inside: np.ndarray,
    gts: GtIndex,
    costs: PairCosts,
    allowed: AllowedPriors | None,
    matches: _PriorMatches,
) -> None:
    """Let some gts take the rest of their K priors from all; they have the cheapest few already."""
    topk, img_inds = gts.topk[part], gts.img_inds[part]
    largest, remaining = int(topk.max()), topk - from_inside
    row = np.arange(len(part)).repeat(remaining)
    count = np.full_like(part, gts.num_priors) if allowed is None else allowed.counts[img_inds]
    gt, img, count, row_of, index, img_of, code = to_device(
        gts.device,
        part,
        img_inds,
        count,
        row,
        row * largest + from_inside[row] + ranges(remaining),
        img_inds[row],
        matches.codes(part[row]),
    )
    prior, padding = _compared_priors(gts, allowed, img, count)
    cost = costs.compute_table(gt, img, prior)  # (len(part), num_compared)
    if padding is not None:
        cost.masked_fill_(padding, torch.inf)
    packed = pack(cost, gts.prior_inds[: cost.size(1)])
    packed = packed.topk(largest, dim=1, largest=False).values
    index = unpack_index(packed.flatten().index_select(0, index))
    if allowed is None:
        prior = torch.add(index, img_of, alpha=gts.num_priors)
    else:
        prior = allowed.priors[img_of, index]
    matches.take(code, prior, cost, (row_of, index))


def _table_chunks(
    gt_inds: np.ndarray, gts: GtIndex, allowed: AllowedPriors | None
) -> list[np.ndarray]:
    """Split gts so that the tables of each part are not too large."""
    width = gts.num_priors if allowed is None else allowed.priors.size(1)
    step = max(chunk_size(TABLE_CHUNK, gts.device) // max(width, 1), 1)
    return [gt_inds[start : start + step] for start in range(0, len(gt_inds), step)]


def _compared_priors(
    gts: GtIndex, allowed: AllowedPriors | None, img_inds: Tensor, count: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Return the priors (in the batch) that gts of some images may take, and the mask of padding.

    ``count`` is the number that are no padding. None for all priors; None for no padding.
    """
    if allowed is None:
        return None, None
    if gts.num_imgs == 1:
        return allowed.priors, None
    padding = gts.prior_inds[: allowed.priors.size(1)] >= count.unsqueeze(1)
    return allowed.priors.index_select(0, img_inds), padding


def _chunks(sizes: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Split a list into ranges whose sizes sum to about ``limit`` at most."""
    part = (sizes.cumsum() - sizes) // limit
    cuts = [0, *(np.diff(part).nonzero()[0] + 1).tolist(), len(sizes)]
    return list(pairwise(cuts))


def to_device(device: torch.device, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Copy index arrays to a device in one transfer that the host does not wait for."""
    flat = torch.from_numpy(np.concatenate(arrays))
    if device.type == 'cuda':
        flat = flat.pin_memory()  # a copy from pageable memory would wait
    return flat.to(device, non_blocking=True).split([len(array) for array in arrays])
