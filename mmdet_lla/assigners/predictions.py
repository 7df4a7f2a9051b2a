"""A head's predictions for a picture, read for assigners that weigh them, and the answer."""

from typing import NamedTuple

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import is_covered
from .costs import is_inverted, pair_iou
from .instances import (
    INVERTED_BOX,
    NOT_FINITE_BOX,
    NOT_FINITE_IGNORE,
    describe_inverted,
    describe_label_range,
    read_boxes,
    to_host,
)

#: Side of an anchor box in strides of its level, as OTA's authors have it
#: (Megvii-BaseDetection/OTA, issue 4).
ANCHOR_SCALE = 8

#: What is wrong with predictions.
NOT_FINITE_PREDICTION = (
    'pred_instances.bboxes holds NaN or infinite values, expected finite decoded boxes '
    'from the head; the training may have diverged'
)
NOT_FINITE_SCORE = (
    'pred_instances.scores holds NaN or infinite values, expected finite scores from the '
    'head; the training may have diverged'
)
NO_PROBABILITY = (
    "pred_instances.scores holds values outside [0, 1]; score_form='probs' expects "
    "probabilities, use 'logits' for raw scores"
)


class Predictions(NamedTuple):
    """Predictions of a picture, in float32.

    Attributes:
        priors (Tensor): As they were handed over: points (n, 2), points with strides (n, 4) or
            anchor boxes (n, 4), in pixels.
        points (Tensor): Centres of the priors in pixels, (n, 2).
        strides (Tensor, optional): Stride of each prior in x and y, (n, 2); None for points that
            came without.
        bboxes (Tensor): Decoded boxes ``x1 y1 x2 y2`` in pixels, (n, 4).
        scores (Tensor): Logits or probabilities, (n, num_classes).
        holds_boxes (bool): Whether the priors are anchor boxes.
    """

    priors: Tensor
    points: Tensor
    strides: Tensor | None
    bboxes: Tensor
    scores: Tensor
    holds_boxes: bool

    def reach(self, radius: float) -> Tensor:
        """How far each prior reaches in x and y if ``radius`` strides are near, (2, num_priors)."""
        assert self.strides is not None, 'read with needs_strides'
        return self.strides.T * radius


def require_predictions(who: str, pred_instances: InstanceData) -> None:
    """Raise if a head handed over priors alone.

    Args:
        who (str): Name of the assigner, for messages.
        pred_instances (:obj:`InstanceData`): What the head handed over.

    Raises:
        ValueError: If ``priors``, ``bboxes`` or ``scores`` are missing.
    """
    missing = [name for name in ('priors', 'bboxes', 'scores') if name not in pred_instances]
    if missing:
        raise ValueError(
            f'{who}: pred_instances has no {", ".join(missing)}. It weighs predictions, so the '
            'head must hand over priors, decoded bboxes and scores, as LLAHead, YOLOX, RTMDet and '
            'TOOD do; RetinaHead, FCOSHead and ATSSHead hand over priors only: use '
            "type='LLAHead' for the head."
        )


def read_predictions(
    who: str, pred_instances: InstanceData, prior_form: str, needs_strides: bool
) -> Predictions:
    """Read ``priors``, ``bboxes`` and ``scores``; their shapes are checked, not their values.

    Args:
        who (str): Name of the assigner, for messages.
        pred_instances (:obj:`InstanceData`): What the head handed over.
        prior_form (str): What ``priors`` holds. 'points': (n, 2), or (n, 4) as points with strides
            ``x y stride_x stride_y``; 'boxes': anchor boxes (n, 4), ``ANCHOR_SCALE`` strides wide
            and high; 'auto': points if (n, 2), anchor boxes if (n, 4).
        needs_strides (bool): Whether points (n, 2) are too little.

    Raises:
        ValueError: If something is missing or of another shape.
    """
    require_predictions(who, pred_instances)
    priors, bboxes = (get_box_tensor(pred_instances[key]) for key in ('priors', 'bboxes'))
    scores = pred_instances.scores
    widths = (4,) if needs_strides or prior_form == 'boxes' else (2, 4)
    if priors.dim() != 2 or priors.size(1) not in widths:
        hint = (
            '; it measures in strides, so points must come with theirs, x y stride_x stride_y and '
            "prior_form='points'"
            if needs_strides
            else ''
        )
        raise ValueError(
            f'{who}: pred_instances.priors has shape {tuple(priors.shape)}; with '
            f'prior_form={prior_form!r} expected '
            f'{" or ".join(f"(n, {width})" for width in widths)}{hint}'
        )
    if bboxes.shape != (len(priors), 4):
        raise ValueError(
            f'{who}: pred_instances.bboxes has shape {tuple(bboxes.shape)}, '
            f'expected ({len(priors)}, 4), one decoded box a prior'
        )
    if scores.dim() != 2 or len(scores) != len(priors) or not scores.size(1):
        raise ValueError(
            f'{who}: pred_instances.scores has shape {tuple(scores.shape)}, '
            f'expected ({len(priors)}, num_classes)'
        )
    priors, strides = priors.float(), None
    holds_boxes = priors.size(1) == 4 and prior_form != 'points'
    if holds_boxes:
        points = (priors[:, :2] + priors[:, 2:]) / 2
        sides = priors[:, 2:] - priors[:, :2]
        strides = (sides[:, :1] * sides[:, 1:]).sqrt().expand(-1, 2) / ANCHOR_SCALE
    else:
        points = priors[:, :2]
        if priors.size(1) == 4:
            strides = priors[:, 2:]
    return Predictions(priors, points, strides, bboxes.float(), scores.float(), holds_boxes)


class PictureBoxes(NamedTuple):
    """The boxes of a picture that take part.

    Attributes:
        bboxes (Tensor): ``x1 y1 x2 y2`` in pixels, float32, true boxes first, (k + m, 4).
        labels (Tensor): Their classes, int64, as they came, (k + m,); 0 for ignore boxes without.
        num_gts (int): k, how many of them are true boxes.
    """

    bboxes: Tensor
    labels: Tensor
    num_gts: int


def boxes_of_picture(
    who: str,
    gt_instances: InstanceData,
    gt_instances_ignore: InstanceData | None,
    device: torch.device,
) -> PictureBoxes:
    """The true boxes, and the ignore boxes that take part, if any.

    Raises:
        ValueError: If they are on another device than ``device``, the priors', or there are not
            as many labels as boxes.
    """
    listed = read_boxes([gt_instances], [gt_instances_ignore], who, device)
    return PictureBoxes(
        torch.cat(listed.bboxes).float(), torch.cat(listed.labels).long(), listed.num_gts[0]
    )


def find_covered(
    who: str, predictions: Predictions, gt_instances_ignore: InstanceData, threshold: float
) -> Tensor:
    """Which priors ignore boxes cover, bool, (num_priors,); see :func:`is_covered`.

    Raises:
        ValueError: If an ignore box is not finite.
    """
    ignored = get_box_tensor(gt_instances_ignore.bboxes).float()
    if not _all_finite(ignored):
        raise ValueError(f'{who}: {NOT_FINITE_IGNORE}')
    priors = predictions.priors if predictions.holds_boxes else predictions.points
    return is_covered(priors, ignored, threshold)


def find_faults(
    predictions: Predictions, boxes: PictureBoxes, score_form: str
) -> dict[str, Tensor]:
    """What can be wrong with the values: the message, and a flag that stays on the device.

    Args:
        predictions (Predictions): At least one.
        boxes (PictureBoxes): Of the picture.
        score_form (str): 'logits' or 'probs'.
    """
    scores, num_classes = predictions.scores, predictions.scores.size(1)
    labels = boxes.labels[: boxes.num_gts]
    faults = {
        NOT_FINITE_PREDICTION: ~_all_finite(predictions.bboxes),
        NOT_FINITE_SCORE: ~_all_finite(scores),
    }
    if len(boxes.bboxes):
        faults[NOT_FINITE_BOX] = ~_all_finite(boxes.bboxes)
    if boxes.num_gts:
        faults[INVERTED_BOX] = is_inverted(boxes.bboxes[: boxes.num_gts]).any()
        faults[describe_label_range(num_classes)] = ((labels < 0) | (labels >= num_classes)).any()
    if score_form == 'probs':
        faults[NO_PROBABILITY] = ((scores < 0) | (scores > 1)).any()
    if predictions.holds_boxes:
        faults[
            'pred_instances.priors holds boxes with x2 < x1 or y2 < y1, so they seem to be points '
            "with strides; expected anchor boxes, use prior_form='points'"
        ] = is_inverted(predictions.priors).any()
    elif predictions.strides is not None:
        faults[
            'pred_instances.priors holds strides that are not > 0; expected points with strides, '
            'x y stride_x stride_y'
        ] = ~(predictions.strides > 0).all()
    return faults


def to_host_if_sound(
    who: str, faults: dict[str, Tensor], boxes: PictureBoxes, *others: Tensor
) -> list[np.ndarray]:
    """Bring integers to the host, in one transfer with the flags of what can be wrong.

    Args:
        who (str): Name of the assigner.
        faults (dict[str, Tensor]): See :func:`find_faults`.
        boxes (PictureBoxes): Of the picture.
        others (Tensor): Integers up to 2^53, or bools.

    Returns:
        list[np.ndarray]: ``others`` in int64, of the shapes they have.

    Raises:
        ValueError: For the first fault, if there is any; the message names the field, what was
            found and what was expected.
    """
    flags, *values = to_host(torch.stack(list(faults.values())), *others)
    for text, faulty in zip(faults, flags, strict=True):
        if faulty:
            if text == INVERTED_BOX:
                text = describe_inverted(boxes.bboxes[: boxes.num_gts])
            raise ValueError(f'{who}: {text}')
    return [
        value.astype(np.int64).reshape(one.shape) for value, one in zip(values, others, strict=True)
    ]


def as_result(
    owner: Tensor | None, predictions: Predictions, boxes: PictureBoxes, preds: Tensor, true: Tensor
) -> AssignResult:
    """The decision in mmdet's words.

    Args:
        owner (Tensor, optional): Index of the box each prior went to, -1 for the background,
            int64, (num_priors,); None if all are background.
        predictions (Predictions): Of the picture.
        boxes (PictureBoxes): Of the picture.
        preds, true (Tensor): Predicted boxes and boxes, see :func:`with_area`.

    Returns:
        :obj:`AssignResult`: ``gt_inds``, -1 where an ignore box won, ``max_overlaps`` and
        ``labels``, (num_priors,).
    """
    num_priors = len(predictions.points)
    if owner is None:
        return AssignResult(
            boxes.num_gts,
            boxes.labels.new_zeros(num_priors),
            predictions.bboxes.new_zeros(num_priors),
            labels=boxes.labels.new_full((num_priors,), -1),
        )
    won, box = owner >= 0, owner.clamp(min=0)
    positive = won & (box < boxes.num_gts)
    return AssignResult(
        boxes.num_gts,
        torch.where(positive, box + 1, -won.long()),
        pair_iou(preds, true.index_select(1, box)) * won,
        labels=torch.where(positive, boxes.labels[box], -1),
    )


def _all_finite(values: Tensor) -> Tensor:
    """Whether there is neither NaN nor infinity, in one pass."""
    return torch.stack(values.aminmax()).isfinite().all()
