"""Candidate pairs: which priors compete for which gts. By LLA's rule, those inside the gt.

Only about 2 % of all pairs are, so they are listed instead of testing all gts x priors.

The listing rests on one fact. Priors that stand row by row on a *grid*, with non-decreasing x of
the columns and y of the rows, are inside a gt exactly where a range of columns meets a range of
rows.
``x - x1`` and ``x2 - x`` are monotonic in x in floating point too, so a binary search finds these
ranges exactly, see :func:`exact_margin`. The priors of mmdet's generators are one grid per level;
priors in any other order form more, smaller grids and give the same result.

Other rules (around the centers of gts as in SimOTA, and ignore regions that exclude priors) test
all gts x priors, a chunk of gts at a time.

The images of a batch share their priors. Their gts form one list, image by image; the index of a
prior in the batch is ``img * num_priors + prior``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .geometry import (
    INSIDE_MARGIN,
    is_inside,
    is_near_center,
    pair_inter_and_union,
    signed_depth,
    with_area,
)

#: Pairs per chunk where gts are compared with all priors, or priors with all gts.
TABLE_CHUNK = 1 << 17

#: How many times larger chunks are on an accelerator, where calls cost more than memory: half a
#: GiB or so at most.
ACCELERATOR_CHUNKS = 64


def chunk_size(pairs: int, device: torch.device) -> int:
    """Return the number of pairs per chunk on a device, given that for a CPU's caches."""
    return pairs if device.type == 'cpu' else pairs * ACCELERATOR_CHUNKS


class PriorGrids(NamedTuple):
    """The priors of an image, in the order they come, as grids.

    Attributes:
        coords (Tensor): x of the columns of each grid, then y of its rows, in pixels and padded
            with infinity, float64, shape (2 * num_grids, longest).
        first (Tensor): Index of the first prior of each grid, int64, shape (num_grids, 1).
        width (Tensor): Priors from one row to the next, int64, shape (num_grids, 1).
        inwards (Tensor): Signs that point inside from x1, y1, x2, y2: 1, 1, -1, -1, float64,
            shape (4, 1).
    """

    coords: Tensor
    first: Tensor
    width: Tensor
    inwards: Tensor


class Rectangles(NamedTuple):
    """The priors inside every gt, one rectangle per grid. All int64, (num_grids, num_gts).

    Attributes:
        first (Tensor): Index in the batch of the first prior of the rectangle.
        rows, cols (Tensor): Size of the rectangle; no prior is inside if either is 0.
        step (Tensor): Priors from one row to the next.
    """

    first: Tensor
    rows: Tensor
    cols: Tensor
    step: Tensor


def exact_margin(margin: float) -> float:
    """Return how far x is from x1, exactly, where ``x - x1 > margin`` begins to hold in float32.

    Float32 rounds a difference up from halfway to the number after the margin; at the half itself
    it is rounded to the margin, if that ends in a 0 bit. Float64 holds ``x1`` plus the half
    exactly, or, from 4 million pixels on, closely enough to fall between the same two float32.

    Raises:
        ValueError: If the margin ends in a 1 bit.

    >>> exact_margin(0.0) > 0
    True
    """
    single = np.float32(margin)
    if single.view(np.int32) & 1:
        raise ValueError(f'exact_margin: the last bit of the float32 {single} is 1, expected 0')
    return float((np.float64(single) + np.nextafter(single, np.float32(np.inf))) / 2)


def find_grids(points: Tensor, device: torch.device | None = None) -> PriorGrids:
    """Split priors into grids, on the host.

    Args:
        points (Tensor): Centers of the priors in pixels, float32, shape (num_priors, 2), at least
            one.
        device (torch.device, optional): Device of the result. Defaults to that of the points.

    Returns:
        PriorGrids: The grids, which together hold every prior once and in order.

    >>> y, x = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing='ij')
    >>> find_grids(torch.stack([x, y], -1).view(-1, 2)).width.tolist()  # one grid of 3 rows
    [[4]]
    """
    device = device or points.device
    x, y = points.detach().cpu().numpy().T
    row = np.flatnonzero(np.r_[True, (y[1:] != y[:-1]) | (x[1:] < x[:-1])])
    top = _first_rows(x, y, row)
    # Padded to the longest, a few long grids among many short ones would take too much memory.
    longest = max(len(x) // len(top), 16)
    row = np.unique(np.r_[row, _cut_points(row, len(x), longest)])
    top = _first_rows(x, y, row)
    top = np.unique(np.r_[top, _cut_points(top, len(row), longest)])
    height, width = np.diff(np.r_[top, len(row)]), np.diff(np.r_[row, len(x)])[top]
    coords = np.full((2 * len(top), max(height.max(), width.max())), np.inf)
    columns = np.arange(coords.shape[1])
    coords[::2][columns < width[:, None]] = x[np.repeat(row[top], width) + ranges(width)]
    coords[1::2][columns < height[:, None]] = y[row]
    inwards = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    arrays = coords, row[top][:, None], width[:, None], inwards
    return PriorGrids(*(torch.from_numpy(array).to(device) for array in arrays))


def _first_rows(x: np.ndarray, y: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Find the rows that begin a grid; others have the columns of the row above."""
    length = np.diff(np.r_[row, len(x)])
    above = np.arange(len(x)) - np.repeat(np.r_[length[0], length[:-1]], length)
    moved = np.logical_or.reduceat(x != x[above.clip(min=0)], row)
    joins = ~moved[1:] & (length[1:] == length[:-1]) & (y[row[1:]] >= y[row[:-1]])
    return np.flatnonzero(np.r_[True, ~joins])


def _cut_points(begin: np.ndarray, end: int, longest: int) -> np.ndarray:
    """Find where to cut ranges so that none is longer than ``longest``."""
    position = np.arange(end) - np.repeat(begin, np.diff(np.r_[begin, end]))
    return np.flatnonzero(position % longest == 0)


def ranges(sizes: np.ndarray) -> np.ndarray:
    """Concatenate ``arange(size)`` of every size.

    >>> ranges(np.array([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)


def inside_rectangles(
    gt_bboxes: Tensor,
    grids: PriorGrids,
    offset: Tensor | None = None,
    margin: float = INSIDE_MARGIN,
) -> Rectangles:
    """Find the priors inside every gt, by more than a margin on every side.

    Args:
        gt_bboxes (Tensor): x1, y1, x2, y2 in pixels, float32, shape (4, num_gts).
        grids (PriorGrids): The priors of an image.
        offset (Tensor, optional): Index in the batch of the first prior of each gt's image,
            int64, shape (num_gts,). Defaults to 0, a single image.
        margin (float): The margin in pixels, see :func:`exact_margin`. Defaults to that of the
            reference code.

    Returns:
        Rectangles: One per grid and gt.
    """
    num_grids = len(grids.first)
    lower, upper = torch.add(gt_bboxes, grids.inwards, alpha=exact_margin(margin)).split(2)
    begin = torch.searchsorted(grids.coords, lower.repeat(num_grids, 1), right=True)
    end = torch.searchsorted(grids.coords, upper.repeat(num_grids, 1))
    size = (end - begin).clamp_(min=0)  # (2 * num_grids, num_gts)
    first = grids.first if offset is None else grids.first + offset
    first = torch.addcmul(first, begin[1::2], grids.width).add_(begin[::2])
    return Rectangles(first, size[1::2], size[::2], grids.width.expand_as(first))


def list_pairs(
    rectangles: Rectangles, num_runs: int, num_pairs: int, first_gt: int = 0
) -> tuple[Tensor, Tensor]:
    """List the pairs of rectangles, ordered by gt and then by prior.

    Args:
        rectangles (Rectangles): Of some gts.
        num_runs (int): Sum of ``rows``.
        num_pairs (int): Sum of ``rows * cols``; passing both saves a synchronization.
        first_gt (int): Index of the first gt. Defaults to 0.

    Returns:
        tuple[Tensor, Tensor]: gt index and prior index (in the batch) of each pair, int64, shape
        (num_pairs,).
    """
    last_gt = first_gt + rectangles.first.size(1)
    count = torch.arange(max(num_runs, num_pairs, last_gt), device=rectangles.first.device)
    # First the rows of the rectangles, gt by gt: the first prior of a row is base + number * step.
    first, rows, cols, step = (part.T for part in rectangles)  # (num_gts, num_grids)
    rows = rows.contiguous()
    before = rows.view(-1).cumsum(0).view_as(rows) - rows
    base = torch.addcmul(first, before, step, value=-1)
    gt = count[first_gt:last_gt, None].expand_as(first)
    rectangle = torch.repeat_interleave(rows.view(-1), output_size=num_runs)
    base, step, cols, gt = (
        torch.stack([base, step, cols, gt]).flatten(1).index_select(1, rectangle)
    )  # (num_runs,)
    first = torch.addcmul(base, count[:num_runs], step)
    # Then the priors of the rows: the priors of a row follow each other.
    shift = first + cols - cols.cumsum(0)
    row = torch.repeat_interleave(cols, output_size=num_pairs)
    return gt.index_select(0, row), shift.index_select(0, row).add_(count[:num_pairs])


class CandidateRule(NamedTuple):
    """Which pairs are candidates and pay no penalty.

    Attributes:
        kind (str): 'inside' the gt by ``INSIDE_MARGIN``; 'center': inside by any margin and near
            the center of the gt; or 'all' pairs.
        points (Tensor): Centers of the priors of an image in pixels, shape (2, num_priors).
        radius (Tensor, optional): Of 'center', see :func:`is_near_center`, shape (2, num_priors).
    """

    kind: str
    points: Tensor
    radius: Tensor | None = None

    def find_outside(self, gt_bboxes: Tensor, prior: Tensor | None = None) -> Tensor | None:
        """Find the pairs that are no candidates.

        Args:
            gt_bboxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, ...).
            prior (Tensor, optional): Index in the batch of priors, int64, shape (...), broadcast
                against ``gt_bboxes``. Defaults to all of an image, (num_priors,).

        Returns:
            Tensor, optional: 1 or 0, of the broadcast shape; None if all pairs are candidates.
        """
        if self.kind == 'all':
            return None
        points, radius = self.points, self.radius
        if prior is not None:
            index = prior.flatten() % points.size(1)
            points = points.index_select(1, index).unflatten(1, prior.shape)
            if radius is not None:
                radius = radius.index_select(1, index).unflatten(1, prior.shape)
        if radius is None:
            return signed_depth(gt_bboxes[:2], gt_bboxes[2:4], points).le_(INSIDE_MARGIN)
        return ~(is_inside(gt_bboxes, points, 0.0) & is_near_center(gt_bboxes, points, radius))


def find_near_any_gt(
    gt_bboxes: Tensor, img_inds: Tensor, num_imgs: int, points: Tensor, radius: Tensor
) -> Tensor:
    """Find the priors inside any gt or near any center, those that SimOTA allows.

    Args:
        gt_bboxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, num_gts).
        img_inds (Tensor): Image of each gt, int64, shape (num_gts,).
        num_imgs (int): Number of images.
        points, radius (Tensor): See :func:`is_near_center`, shape (2, num_priors).

    Returns:
        Tensor: bool, shape (num_imgs, num_priors).
    """

    def test(part: Tensor) -> Tensor:  # (chunk, 4 or more) -> (chunk, num_priors)
        part = part.T.unsqueeze(-1)
        return is_inside(part, points, 0.0) | is_near_center(part, points, radius)

    return _any_per_image(gt_bboxes.T, img_inds, num_imgs, points.size(1), test)


def find_covered(
    priors: Tensor, ignored: Tensor, img_inds: Tensor, num_imgs: int, threshold: float
) -> Tensor:
    """Find the priors that an ignore box covers by more than ``threshold`` (``ignore_iof_thr``).

    Args:
        priors (Tensor): Anchor boxes in pixels, shape (num_priors, 4), of which a fraction of the
            area is covered; or points, shape (num_priors, 2), covered where they lie inside.
        ignored (Tensor): Ignore boxes in pixels, shape (num_ignored, 4).
        img_inds (Tensor): Image of each ignore box, int64, shape (num_ignored,).
        num_imgs (int): Number of images.
        threshold (float): The fraction, in [0, 1).

    Returns:
        Tensor: bool, shape (num_imgs, num_priors).
    """
    points = anchors = priors.T
    if priors.size(1) == 4:
        anchors = with_area(priors)

    def test(part: Tensor) -> Tensor:  # (chunk, 4) -> (chunk, num_priors)
        if len(anchors) == 5:
            inter, _ = pair_inter_and_union(with_area(part).unsqueeze(-1), anchors)
            return inter / anchors[4] > threshold
        return is_inside(part.T.unsqueeze(-1), points)

    return _any_per_image(ignored, img_inds, num_imgs, len(priors), test)


def _any_per_image(
    boxes: Tensor,
    img_inds: Tensor,
    num_imgs: int,
    num_priors: int,
    test: Callable[[Tensor], Tensor],
) -> Tensor:
    """Find the priors for which a test of boxes x priors holds for any box of the image."""
    found = torch.zeros(num_imgs, num_priors, dtype=torch.int32, device=boxes.device)
    step = max(chunk_size(TABLE_CHUNK, boxes.device) // max(num_priors, 1), 1)
    for part, img in zip(boxes.split(step), img_inds.split(step), strict=True):
        found.index_add_(0, img, test(part).int())
    return found > 0
