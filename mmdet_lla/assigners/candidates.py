"""Which (box, prior) pairs compete: by LLA's rule, the pairs whose prior lies inside the box.

Only about 2 % of all pairs do, so the pairs are listed and no table of boxes x priors is made.

The identity it rests on: priors that stand row by row on a *grid*, the columns' x and the rows' y
non-decreasing, are inside a box exactly where a run of columns meets a run of rows. ``x - x1`` and
``x2 - x`` are monotone in x in floating point too, so that binary searches find these runs exactly,
see :func:`bound_of`. The priors of mmdet's generators are a grid a level; priors in any other
order fall into more, smaller grids and give the same answer.

Other rules, SimOTA's around the centres of boxes and the leaving out of priors that ignore boxes
cover, are tests of tables, a chunk of boxes at a time.

The pictures of a batch share their priors. Boxes are one list, picture by picture; a prior's index
in the batch is ``picture * num_priors + prior``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

#: How far inside a box, in pixels, a prior must lie on every side (reference, `fcos.py`).
INSIDE_MARGIN = 0.01

#: Pairs worked on at a time where boxes look at all priors, or priors at all boxes.
TABLE_CHUNK = 1 << 17

#: How many times larger chunks are on an accelerator, where calls cost more than memory: half a
#: GiB or so at most.
ACCELERATOR_CHUNKS = 64


def chunk_size(pairs: int, device: torch.device) -> int:
    """How many pairs to work on at a time on a device, from the number for a CPU's caches."""
    return pairs if device.type == 'cpu' else pairs * ACCELERATOR_CHUNKS


class PriorGrids(NamedTuple):
    """The priors of a picture, in the order they come, as grids.

    Attributes:
        coords (Tensor): x of the columns of each grid, then y of its rows, in pixels and in rows
            filled up with infinity, float64, shape (2 * num_grids, longest).
        first (Tensor): Index of the first prior of each grid, int64, shape (num_grids, 1).
        width (Tensor): Priors from one row to the next, int64, shape (num_grids, 1).
        inwards (Tensor): Where inside is from x1, y1, x2, y2 of boxes: 1, 1, -1, -1, float64,
            shape (4, 1).
    """

    coords: Tensor
    first: Tensor
    width: Tensor
    inwards: Tensor


class Rectangles(NamedTuple):
    """The priors inside every box, as a rectangle a grid. All int64, (num_grids, num_boxes).

    Attributes:
        first (Tensor): Index in the batch of the rectangle's first prior.
        rows, cols (Tensor): Size of the rectangle; no prior is inside if either is 0.
        step (Tensor): Priors from one row to the next.
    """

    first: Tensor
    rows: Tensor
    cols: Tensor
    step: Tensor


def bound_of(margin: float) -> float:
    """How far ``x`` is from ``x1``, exactly, where ``x - x1 > margin`` begins to hold in float32.

    Float32 rounds a difference up from halfway to the number after the margin; at the half itself
    it is rounded to the margin, if that ends in a 0 bit. Float64 holds ``x1`` plus the half
    exactly, or, from 4 million pixels on, closely enough to fall between the same two float32.

    Raises:
        ValueError: If the margin ends in a 1 bit.
    """
    single = np.float32(margin)
    if single.view(np.int32) & 1:
        raise ValueError(f'bound_of: the last bit of the float32 {single} is 1, expected 0')
    return float((np.float64(single) + np.nextafter(single, np.float32(np.inf))) / 2)


def find_grids(points: Tensor, device: torch.device | None = None) -> PriorGrids:
    """Cut priors into grids, on the host.

    Args:
        points (Tensor): Centres of the priors in pixels, float32, shape (num_priors, 2), at least
            one.
        device (torch.device, optional): Where the grids are wanted. Defaults to that of the points.

    Returns:
        PriorGrids: The grids, which together hold every prior once and in order.
    """
    device = device or points.device
    x, y = points.detach().cpu().numpy().T
    row = np.flatnonzero(np.r_[True, (y[1:] != y[:-1]) | (x[1:] < x[:-1])])
    top = _tops(x, y, row)
    # Filled up to the longest, a few long grids among many short ones would take too much memory.
    longest = max(len(x) // len(top), 16)
    row = np.unique(np.r_[row, _cuts(row, len(x), longest)])
    top = _tops(x, y, row)
    top = np.unique(np.r_[top, _cuts(top, len(row), longest)])
    height, width = np.diff(np.r_[top, len(row)]), np.diff(np.r_[row, len(x)])[top]
    coords = np.full((2 * len(top), max(height.max(), width.max())), np.inf)
    places = np.arange(coords.shape[1])
    coords[::2][places < width[:, None]] = x[np.repeat(row[top], width) + _count_up(width)]
    coords[1::2][places < height[:, None]] = y[row]
    inwards = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    arrays = coords, row[top][:, None], width[:, None], inwards
    return PriorGrids(*(torch.from_numpy(array).to(device) for array in arrays))


def _tops(x: np.ndarray, y: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Which rows begin a grid; one goes on with the grid of the row above if it has its columns."""
    length = np.diff(np.r_[row, len(x)])
    above = np.arange(len(x)) - np.repeat(np.r_[length[0], length[:-1]], length)
    moved = np.logical_or.reduceat(x != x[above.clip(min=0)], row)
    joins = ~moved[1:] & (length[1:] == length[:-1]) & (y[row[1:]] >= y[row[:-1]])
    return np.flatnonzero(np.r_[True, ~joins])


def _cuts(begin: np.ndarray, end: int, longest: int) -> np.ndarray:
    """Where to cut ranges so that none is longer than ``longest``."""
    place = np.arange(end) - np.repeat(begin, np.diff(np.r_[begin, end]))
    return np.flatnonzero(place % longest == 0)


def _count_up(sizes: np.ndarray) -> np.ndarray:
    """0, 1, ... for every size."""
    return np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)


def inside_rectangles(
    boxes: Tensor,
    grids: PriorGrids,
    offset: Tensor | None = None,
    margin: float = INSIDE_MARGIN,
) -> Rectangles:
    """The priors inside every box, by more than a margin on every side.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, float32, shape (4, num_boxes).
        grids (PriorGrids): The priors of a picture.
        offset (Tensor, optional): Index in the batch of the first prior of each box's picture,
            int64, shape (num_boxes,). Defaults to 0, a single picture.
        margin (float): The margin in pixels, see :func:`bound_of`. Defaults to that of the
            reference.

    Returns:
        Rectangles: One a grid and box.
    """
    num_grids = len(grids.first)
    lower, upper = torch.add(boxes, grids.inwards, alpha=bound_of(margin)).split(2)
    begin = torch.searchsorted(grids.coords, lower.repeat(num_grids, 1), right=True)
    end = torch.searchsorted(grids.coords, upper.repeat(num_grids, 1))
    size = (end - begin).clamp_(min=0)
    first = grids.first if offset is None else grids.first + offset
    first = torch.addcmul(first, begin[1::2], grids.width).add_(begin[::2])
    return Rectangles(first, size[1::2], size[::2], grids.width.expand_as(first))


def list_pairs(
    rectangles: Rectangles, num_runs: int, num_pairs: int, first_box: int = 0
) -> tuple[Tensor, Tensor]:
    """Write rectangles out as pairs, ordered by box and then by prior.

    Args:
        rectangles (Rectangles): Of some boxes.
        num_runs (int): Sum of ``rows``.
        num_pairs (int): Sum of ``rows * cols``; handing both over spares a synchronisation.
        first_box (int): Index of the first box. Defaults to 0.

    Returns:
        tuple[Tensor, Tensor]: Box index and prior index (in the batch) of each pair, int64, shape
        (num_pairs,).
    """
    last_box = first_box + rectangles.first.size(1)
    count = torch.arange(max(num_runs, num_pairs, last_box), device=rectangles.first.device)
    # First the rows of the rectangles, box by box: a row's first prior is base + number * step.
    first, rows, cols, step = (part.T for part in rectangles)
    rows = rows.contiguous()
    before = rows.view(-1).cumsum(0).view_as(rows) - rows
    base = torch.addcmul(first, before, step, value=-1)
    box = count[first_box:last_box, None].expand_as(first)
    rectangle = torch.repeat_interleave(rows.view(-1), output_size=num_runs)
    base, step, cols, box = (
        torch.stack([base, step, cols, box]).flatten(1).index_select(1, rectangle)
    )
    first = torch.addcmul(base, count[:num_runs], step)
    # Then the priors of the rows: a row's priors follow each other.
    shift = first + cols - cols.cumsum(0)
    row = torch.repeat_interleave(cols, output_size=num_pairs)
    return box.index_select(0, row), shift.index_select(0, row).add_(count[:num_pairs])


def aligned(values: Tensor, others: Tensor) -> Tensor:
    """(k, ...) with as many dimensions as others, so that all but the first broadcast."""
    return values[(slice(None), *(None,) * (others.dim() - values.dim()))]


def depth(lower: Tensor, upper: Tensor, points: Tensor) -> Tensor:
    """How deep points lie inside boxes, in pixels; below 0 outside.

    Args:
        lower, upper (Tensor): x1 and y1, and x2 and y2, in pixels, shape (2, ...).
        points (Tensor): x, y in pixels, shape (2, ...), broadcast against these.

    Returns:
        Tensor: Distance from the nearest side, of the broadcast shape.
    """
    points = aligned(points, lower)
    distance = points - lower
    return torch.minimum(distance, upper - points, out=distance).amin(0)


def is_inside(boxes: Tensor, points: Tensor, margin: float = INSIDE_MARGIN) -> Tensor:
    """Whether points lie inside boxes, by more than a margin on every side.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, ...); further rows are left.
        points (Tensor): x, y in pixels, shape (2, ...), broadcast against ``boxes``.
        margin (float): The margin in pixels. Defaults to that of the reference.

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    return depth(boxes[:2], boxes[2:4], points) > margin


def is_near_centre(boxes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """Whether points lie less than ``reach`` from the boxes' centres, in x and in y (SimOTA).

    Args:
        boxes, points (Tensor): See :func:`is_inside`.
        reach (Tensor): How far each point reaches in x and y, in pixels, shape (2, ...).

    Returns:
        Tensor: bool, of the broadcast shape.
    """
    centre, reach = (boxes[:2] + boxes[2:4]) / 2, aligned(reach, boxes)
    return depth(centre - reach, centre + reach, points) > 0


class Rule(NamedTuple):
    """Which pairs go without penalty.

    Attributes:
        kind (str): 'inside' boxes by ``INSIDE_MARGIN``; 'center': inside by any margin and near the
            boxes' centres; or 'all' pairs.
        points (Tensor): Centres of the priors of a picture in pixels, shape (2, num_priors).
        reach (Tensor, optional): Of 'center', see :func:`is_near_centre`, shape (2, num_priors).
    """

    kind: str
    points: Tensor
    reach: Tensor | None = None

    def outside(self, boxes: Tensor, prior: Tensor | None = None) -> Tensor | None:
        """Which pairs pay.

        Args:
            boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, ...).
            prior (Tensor, optional): Index in the batch of priors, int64, shape (...), broadcast
                against ``boxes``. Defaults to all of a picture, (num_priors,).

        Returns:
            Tensor, optional: 1 or 0, of the broadcast shape; None if no pair does.
        """
        if self.kind == 'all':
            return None
        points, reach = self.points, self.reach
        if prior is not None:
            place = prior.flatten() % points.size(1)
            points = points.index_select(1, place).unflatten(1, prior.shape)
            if reach is not None:
                reach = reach.index_select(1, place).unflatten(1, prior.shape)
        if reach is None:
            return depth(boxes[:2], boxes[2:4], points).le_(INSIDE_MARGIN)
        return ~(is_inside(boxes, points, 0.0) & is_near_centre(boxes, points, reach))


def in_any(
    boxes: Tensor, picture: Tensor, num_pictures: int, points: Tensor, reach: Tensor
) -> Tensor:
    """Whether points lie inside any box or near any centre, the priors that SimOTA admits.

    Args:
        boxes (Tensor): x1, y1, x2, y2 in pixels, shape (4 or more, num_boxes).
        picture (Tensor): Picture of each box, int64, shape (num_boxes,).
        num_pictures (int): Number of pictures.
        points, reach (Tensor): See :func:`is_near_centre`, shape (2, num_priors).

    Returns:
        Tensor: bool, shape (num_pictures, num_priors).
    """

    def admits(part: Tensor) -> Tensor:
        part = part.unsqueeze(-1)
        return is_inside(part, points, 0.0) | is_near_centre(part, points, reach)

    return _any_of_picture(boxes.T, picture, num_pictures, points.size(1), lambda b: admits(b.T))


def is_covered(priors: Tensor, ignored: Tensor, threshold: float) -> Tensor:
    """:func:`are_covered` of a single picture, bool, shape (num_priors,)."""
    picture = torch.zeros(len(ignored), dtype=torch.int64, device=ignored.device)
    return are_covered(priors, ignored, picture, 1, threshold)[0]


def are_covered(
    priors: Tensor, ignored: Tensor, picture: Tensor, num_pictures: int, threshold: float
) -> Tensor:
    """Whether any ignore box covers more than a share of a prior (as mmdet's ``ignore_iof_thr``).

    Args:
        priors (Tensor): Anchor boxes in pixels, shape (num_priors, 4), or points, shape
            (num_priors, 2), which a box covers wholly or not at all.
        ignored (Tensor): Ignore boxes in pixels, shape (num_ignored, 4).
        picture (Tensor): Picture of each ignore box, int64, shape (num_ignored,).
        num_pictures (int): Number of pictures.
        threshold (float): The share, in [0, 1).

    Returns:
        Tensor: bool, shape (num_pictures, num_priors).
    """

    def covers(part: Tensor) -> Tensor:
        if priors.size(1) == 4:
            return (bbox_overlaps(priors, part, mode='iof') > threshold).T
        return is_inside(part.T.unsqueeze(-1), priors.T)

    return _any_of_picture(ignored, picture, num_pictures, len(priors), covers)


def _any_of_picture(
    boxes: Tensor,
    picture: Tensor,
    num_pictures: int,
    num_priors: int,
    test: Callable[[Tensor], Tensor],
) -> Tensor:
    """Of which priors a test of boxes x priors holds for any box of the picture."""
    found = torch.zeros(num_pictures, num_priors, dtype=torch.int32, device=boxes.device)
    step = max(chunk_size(TABLE_CHUNK, boxes.device) // max(num_priors, 1), 1)
    for part, where in zip(boxes.split(step), picture.split(step), strict=True):
        found.index_add_(0, where, test(part).int())
    return found > 0
