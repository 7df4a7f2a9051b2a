"""What assigners say of the priors of a batch, as the losses of all its pictures read it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..assigners.instances import BoxList, PictureError
from ..assigners.matching import to_device


def find_positive(gt_inds: Tensor, boxes: BoxList) -> tuple[Tensor, Tensor]:
    """Priors that went to a box, and to which; the host waits for the device once.

    Args:
        gt_inds (Tensor): 1-based index of the box of its picture that each prior went to, 0 for
            background, -1 for ignored, int64, (num_pictures, num_priors).
        boxes (BoxList): The true boxes of the batch.

    Returns:
        tuple[Tensor, Tensor]: Index of these priors among those of all pictures, and index of their
        boxes in the list, both int64, (p,).
    """
    positive = (gt_inds > 0).flatten().nonzero().squeeze(1)
    # Indices of boxes go on from picture to picture.
    first = np.cumsum([0, *boxes.num_gts[:-1]])
    (first,) = to_device(gt_inds.device, first)
    return positive, (gt_inds + (first - 1).unsqueeze(1)).flatten()[positive]


def label_priors(
    gt_inds: Tensor, positive: Tensor, box: Tensor, boxes: BoxList, num_classes: int
) -> Tensor:
    """Class of each prior, ``num_classes`` unless it went to a box, int64, (num_pictures * n,).

    What AssignResult says of labels differs from assigner to assigner.

    Args:
        gt_inds, boxes: See :func:`find_positive`.
        positive, box (Tensor): What it gives.
        num_classes (int): Number of classes of the head.
    """
    labels = gt_inds.new_full((gt_inds.numel(),), num_classes)
    labels[positive] = torch.cat(boxes.labels)[box]
    return labels


@contextmanager
def naming_pictures(batch_img_metas: Sequence[dict]) -> Iterator[None]:
    """What is wrong with a picture of the batch is said with the picture's name."""
    try:
        yield
    except PictureError as error:
        img_meta = batch_img_metas[error.picture]
        path = img_meta.get('img_path', img_meta.get('img_id'))
        raise ValueError(f'{error}{"" if path is None else f" (picture {path})"}') from error
