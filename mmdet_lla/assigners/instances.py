"""What a batch holds in mmdet's words, read into tensors, checked, and written back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

#: What is wrong with true boxes that are inverted.
INVERTED_BOX = (
    'gt_instances.bboxes holds a box with x2 < x1 or y2 < y1, expected x1 y1 x2 y2 in '
    "pixels of the network's input"
)

#: What is wrong with true or ignore boxes that are not finite.
NOT_FINITE_BOX = (
    'gt_instances.bboxes or gt_instances_ignore.bboxes holds NaN or infinite values, '
    'expected finite x1 y1 x2 y2 in pixels'
)

#: What is wrong with ignore boxes that take priors out.
NOT_FINITE_IGNORE = (
    'gt_instances_ignore.bboxes holds NaN or infinite values, expected finite x1 y1 x2 y2 in pixels'
)


class PictureError(ValueError):
    """Something is wrong with a picture of a batch.

    Args:
        message (str): What.
        picture (int): Index of the picture in the batch.
    """

    def __init__(self, message: str, picture: int) -> None:
        super().__init__(message)
        self.picture = picture


class BatchAssignResult(NamedTuple):
    """What mmdet's ``AssignResult`` says of a picture, of all pictures of a batch.

    Attributes:
        num_gts (list[int]): Number of true boxes of each picture.
        gt_inds (Tensor): 1-based index of the true box of its picture that each prior went to, 0
            for background, -1 for ignored, int64, shape (num_pictures, num_priors).
        max_overlaps (Tensor): IoU of prediction and box, float32, same shape.
        labels (Tensor): Class of the box, -1 elsewhere, int64, same shape.
    """

    num_gts: list[int]
    gt_inds: Tensor
    max_overlaps: Tensor
    labels: Tensor

    def of_picture(self, index: int) -> AssignResult:
        """The result of one picture."""
        return AssignResult(
            self.num_gts[index],
            self.gt_inds[index],
            self.max_overlaps[index],
            labels=self.labels[index],
        )


class BoxList(NamedTuple):
    """The boxes of all pictures as one list: picture by picture, ignore boxes behind true ones.

    Attributes:
        bboxes (list[Tensor]): ``x1 y1 x2 y2`` in pixels, parts of the list.
        labels (list[Tensor]): Classes, parts of the list.
        picture (np.ndarray): Picture of each box, int64, shape (num_boxes,).
        number (np.ndarray): 1-based index of each box among its picture's true boxes, -1 of an
            ignore box, int64, shape (num_boxes,).
        num_gts (list[int]): Number of true boxes of each picture.
    """

    bboxes: list[Tensor]
    labels: list[Tensor]
    picture: np.ndarray
    number: np.ndarray
    num_gts: list[int]


def read_boxes(
    batch_gt_instances: Sequence[InstanceData],
    batch_gt_instances_ignore: Sequence[InstanceData | None] | None = None,
    who: str = 'LLAAssigner',
    device: torch.device | None = None,
) -> BoxList:
    """List the boxes of a batch; nothing waits for the device.

    Args:
        batch_gt_instances (Sequence[:obj:`InstanceData`]): ``bboxes`` (k, 4) and ``labels`` (k,) a
            picture.
        batch_gt_instances_ignore (Sequence[:obj:`InstanceData`], optional): ``bboxes`` (m, 4) a
            picture; labels, if there are none, count as 0. Defaults to no ignore boxes.
        who (str): Who complains.
        device (torch.device, optional): Where they have to be. Defaults to anywhere.

    Raises:
        PictureError: If there are not as many labels as boxes, or something is elsewhere.
    """
    bboxes, labels, counts = [], [], []
    ignored_of = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
    for picture, (true, ignored) in enumerate(zip(batch_gt_instances, ignored_of, strict=True)):
        for name, instances in dict(gt_instances=true, gt_instances_ignore=ignored or {}).items():
            for field, values in instances.items():
                if device and field in ('bboxes', 'labels') and values.device != device:
                    raise PictureError(
                        f'{who}: {name}.{field} is on {values.device}, '
                        f'pred_instances.priors on {device}; expected one device',
                        picture,
                    )
        if len(true.labels) != len(true.bboxes):
            raise PictureError(
                f'{who}: gt_instances has {len(true.bboxes)} bboxes but {len(true.labels)} labels',
                picture,
            )
        parts = [true] if ignored is None else [true, ignored]
        bboxes += [get_box_tensor(part.bboxes) for part in parts]
        labels += [part.get('labels') for part in parts]
        counts.append([len(true), len(parts[-1]) if len(parts) > 1 else 0])
    if any(part is None for part in labels):
        none = bboxes[0].new_zeros(max(map(len, bboxes)), dtype=torch.int64)
        labels = [
            none[: len(boxes)] if part is None else part
            for part, boxes in zip(labels, bboxes, strict=True)
        ]
    sizes = np.array(counts, dtype=np.int64).reshape(-1, 2)
    picture_of = np.arange(len(sizes)).repeat(sizes.sum(1))
    number = [np.r_[np.arange(1, true + 1), np.full(ignored, -1)] for true, ignored in sizes]
    return BoxList(bboxes, labels, picture_of, np.concatenate(number), sizes[:, 0].tolist())


def to_host(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors on the host in float64, flat. The host waits for the device, once.

    Integers up to 2^53 stay what they are.
    """
    first, *rest = (tensor.flatten() for tensor in tensors)
    values = torch.cat([first.double(), *rest]).cpu().numpy()  # all become what the first is
    return np.split(values, np.cumsum([tensor.numel() for tensor in tensors])[:-1])


def find_box_fault(
    bboxes: np.ndarray,
    labels: np.ndarray,
    picture: np.ndarray,
    is_true: np.ndarray,
    num_classes: int,
) -> tuple[int, str] | None:
    """What is wrong with the first picture whose boxes or labels no head can use.

    Args:
        bboxes (np.ndarray): ``x1 y1 x2 y2`` in pixels, shape (num_boxes, 4).
        labels, picture (np.ndarray): Class and picture of each, shape (num_boxes,).
        is_true (np.ndarray): Which are no ignore boxes: those may be inverted, and of any class.
        num_classes (int): Number of classes of the head.

    Returns:
        tuple[int, str], optional: The picture and what is wrong, None if all are sound.
    """
    infinite = ~np.isfinite(bboxes).all(1)
    inverted = is_true & (bboxes[:, 2:] < bboxes[:, :2]).any(1)
    foreign = is_true & ~((labels >= 0) & (labels < num_classes))
    bad = infinite | inverted | foreign
    if not bad.any():
        return None
    first = picture[bad].min()
    of_first = picture == first
    if (infinite & of_first).any():
        return first, NOT_FINITE_BOX
    if (inverted & of_first).any():
        return first, describe_inverted(bboxes[inverted & of_first])
    label = labels[foreign & of_first][0]
    return first, f'{describe_label_range(num_classes)}, got {label:.0f}'


def describe_inverted(boxes: Tensor | np.ndarray) -> str:
    """Say which of true boxes (n, 4) is the first that is inverted, and what to do."""
    box = next(box for box in boxes.tolist() if box[2] < box[0] or box[3] < box[1])
    return (
        f'{INVERTED_BOX}, got {box}; its loss could be '
        'anything. python tools/check_dataset.py finds those of annotations'
    )


def describe_label_range(num_classes: int) -> str:
    """Say what is wrong with labels that the head has no score of."""
    return (
        f'gt_instances.labels holds a value outside 0..{num_classes - 1}; the head scores '
        f'{num_classes} class(es), see num_classes of the head and metainfo of the data set'
    )
