"""Candidate pairs of the rules that look around the centres of boxes (OTA, POTO), as a list.

A box has at most 25 priors a level within 2.5 strides of its centre, however large it is, and so
few of the pairs inside are left. The pairs inside are listed a chunk of boxes at a time.
"""

from typing import Optional

import numpy as np
import torch
from torch import Tensor

from .candidates import Rectangles, is_near_centre, list_pairs
from .matching import PAIR_CHUNK


def count_inside(rectangles: Rectangles) -> Tensor:
    """What :func:`list_near` needs on the host: rows and priors of every box, (2, num_boxes)."""
    return torch.stack([rectangles.rows.sum(1), (rectangles.rows * rectangles.cols).sum(1)])


def list_near(
    boxes: Tensor,
    points: Tensor,
    reach: Optional[Tensor],
    rectangles: Rectangles,
    counts: np.ndarray,
    free: Optional[Tensor] = None,
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
            Rectangles(*(values[first:last] for values in rectangles)),
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
    return tuple(torch.cat(parts) for parts in zip(*found))
