"""From the result of an assigner to targets of the losses, for all images of a batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps

import numpy as np
import torch
from torch import Tensor

from ..assigners.inputs import GtList, ImageError
from ..assigners.matching import to_device


def find_positive(gt_inds: Tensor, gts: GtList) -> tuple[Tensor, Tensor]:
    """Find the positive priors and their gts; synchronizes with the device once.

    Args:
        gt_inds (Tensor): 1-based index of the gt of its image that each prior is matched to, 0 for
            background, -1 for ignored, int64, (num_imgs, num_priors).
        gts (GtList): The gts of the batch.

    Returns:
        tuple[Tensor, Tensor]: Index of these priors among those of all images, and index of their
        gts in the list, both int64, (num_pos,).
    """
    positive = (gt_inds > 0).flatten().nonzero().squeeze(1)
    # Indices of gts continue from image to image.
    first = np.cumsum([0, *gts.num_gts[:-1]])
    (first,) = to_device(gt_inds.device, first)
    return positive, (gt_inds + (first - 1).unsqueeze(1)).flatten()[positive]


def label_priors(
    gt_inds: Tensor, positive: Tensor, pos_gts: Tensor, gts: GtList, num_classes: int
) -> Tensor:
    """Return the label of each prior, ``num_classes`` if not positive, int64, (num_imgs * n,).

    The ``labels`` of AssignResult have another meaning from assigner to assigner.

    Args:
        gt_inds, gts: See :func:`find_positive`.
        positive, pos_gts (Tensor): What it returns.
        num_classes (int): Number of classes of the head.
    """
    labels = gt_inds.new_full((gt_inds.numel(),), num_classes)
    labels[positive] = torch.cat(gts.labels)[pos_gts]
    return labels


@contextmanager
def naming_images(batch_img_metas: Sequence[dict]) -> Iterator[None]:
    """Add the path of the image to errors that concern one image of the batch."""
    try:
        yield
    except ImageError as error:
        img_meta = batch_img_metas[error.img]
        path = img_meta.get('img_path', img_meta.get('img_id'))
        raise ValueError(f'{error}{"" if path is None else f" (image {path})"}') from error


def disable_compile(function: Callable) -> Callable:
    """Exclude a function from ``torch.compile``, so that only the code around it is compiled.

    The sizes of targets depend on the data and are copied to the host, which cannot be compiled.
    ``torch.compiler.disable`` imports the compiler, so it is applied at the first call.

    >>> disable_compile(abs)(-1)
    1
    """

    disabled = None

    @wraps(function)
    def call(*args, **kwargs):
        nonlocal disabled
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return call
