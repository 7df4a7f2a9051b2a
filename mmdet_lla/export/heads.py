"""Candidates of one-stage heads: what their inference hands to NMS, for a whole batch.

The arithmetic is that of mmdet's ``predict_by_feat``, in fixed shapes: a level always gives
``nms_pre`` candidates, of which those below the threshold have score -1. One decoder serves every
head whose inference is that of ``BaseDenseHead``: RetinaNet, FCOS, ATSS, LLAHead in both forms and
others; YOLOX and RTMDet have their own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmdet.models.dense_heads import RTMDetHead, YOLOXHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor, nn

from ..heads import LLAHead
from .operators import best

#: YOLOX's inference sets no limit of candidates; a graph needs one.
YOLOX_CANDIDATES = 5000
#: Score of what is no candidate.
NONE = -1.0


class Candidates(NamedTuple):
    """What NMS chooses from.

    Attributes:
        boxes (Tensor): ``(x1, y1, x2, y2)`` in pixels of the input, (N, M, 4).
        scores (Tensor): ``NONE`` where there is no candidate, (N, M).
        labels (Tensor): int64, (N, M).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def check_head(head: nn.Module) -> None:
    """Raise if a head's inference is none that can be exported.

    Raises:
        ValueError: Names the head, and what is known.
    """
    own = type(head).predict_by_feat, type(head)._predict_by_feat_single
    base = BaseDenseHead.predict_by_feat, BaseDenseHead._predict_by_feat_single
    known = isinstance(head, (LLAHead, YOLOXHead, RTMDetHead)) or own == base
    if not known:
        raise ValueError(
            f'{type(head).__name__} has an inference of its own, which is not exported; heads of '
            'LLA, RetinaNet, FCOS, ATSS, YOLOX, RTMDet and others that infer as RetinaNet are'
        )
    nms = head.test_cfg.get('nms')
    if nms is not None and nms.get('type', 'nms') != 'nms':
        raise ValueError(f"test_cfg.nms.type is {nms['type']!r}; only 'nms' is exported")
    if head.test_cfg.get('min_bbox_size', -1) > 0:
        raise ValueError(
            f'test_cfg.min_bbox_size is {head.test_cfg.min_bbox_size}; only -1 and 0 are exported, '
            'others depend on the size that a picture had'
        )


def candidates_of(head: nn.Module, outs: tuple, image_shape: tuple) -> Candidates:
    """Candidates of a batch.

    Args:
        head (nn.Module): One that :func:`check_head` passes.
        outs (tuple): What its ``forward`` gave.
        image_shape (tuple): Height and width of the input before it was padded.
    """
    if isinstance(head, YOLOXHead):
        return _of_yolox(head, *outs)
    return _of_base(head, *outs, image_shape=image_shape)


def _of_base(
    head: nn.Module,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    score_factors: list[Tensor] | None = None,
    *,
    image_shape: tuple,
) -> Candidates:
    """``BaseDenseHead._predict_by_feat_single``, and RTMDet's, which differs in nothing here."""
    cfg, batch = head.test_cfg, cls_scores[0].shape[0]
    levels = _priors(head, cls_scores)
    parts = []
    for i, (cls_score, bbox_pred, priors) in enumerate(
        zip(cls_scores, bbox_preds, levels, strict=True)
    ):
        scores = _flat(cls_score, head.cls_out_channels)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
        num_classes = scores.shape[-1]
        scores = scores.reshape(batch, -1)
        scores = torch.where(scores > cfg.get('score_thr', 0), scores, NONE)
        scores, places = _best(scores, cfg.get('nms_pre', -1))
        index = places // num_classes
        boxes = head.bbox_coder.encode_size
        pred = _take(_flat(bbox_pred, boxes), index)
        prior = priors[index]
        if score_factors is not None:
            factor = _take(_flat(score_factors[i], 1).sigmoid(), index).squeeze(-1)
            scores = torch.where(scores > NONE, _product(head, scores, factor), NONE)
        parts.append((pred, prior, scores, places % num_classes))
    pred, prior, scores, labels = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    boxes = _decode(head.bbox_coder, prior, pred, image_shape)
    return _of_size(head, Candidates(boxes, scores, labels))


def _of_yolox(
    head: YOLOXHead, cls_scores: list[Tensor], bbox_preds: list[Tensor], objectnesses: list[Tensor]
) -> Candidates:
    """``YOLOXHead.predict_by_feat``: every prior with its best class; the best of them."""
    cls_score, pred, objectness = (
        torch.cat([_flat(level, size) for level in levels], 1)
        for levels, size in (
            (cls_scores, head.cls_out_channels),
            (bbox_preds, 4),
            (objectnesses, 1),
        )
    )
    scores, labels = cls_score.sigmoid().max(-1)
    scores = objectness.squeeze(-1).sigmoid() * scores
    scores = torch.where(scores >= head.test_cfg.score_thr, scores, NONE)
    scores, index = _best(scores, YOLOX_CANDIDATES)
    priors = torch.cat(_priors(head, cls_scores, with_stride=True))[index]
    boxes = head._bbox_decode(priors.flatten(0, 1), _take(pred, index).flatten(0, 1))
    return Candidates(boxes.reshape(*index.shape, 4), scores, labels.gather(1, index))


def _priors(head: nn.Module, cls_scores: list[Tensor], **kwargs) -> list[Tensor]:
    """Priors of every level, (n, 2 or 4)."""
    sizes = [score.shape[-2:] for score in cls_scores]
    levels = head.prior_generator.grid_priors(
        sizes, dtype=cls_scores[0].dtype, device=cls_scores[0].device, **kwargs
    )
    return [get_box_tensor(level) for level in levels]


def _flat(preds: Tensor, size: int) -> Tensor:
    """(N, priors * size, H, W) to (N, H * W * priors, size)."""
    return preds.permute(0, 2, 3, 1).reshape(preds.shape[0], -1, size)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """(N, n, size) at (N, m) to (N, m, size)."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The best of each picture with their places; of equal ones those that come first.

    Where there are fewer, others follow with score ``NONE``, at place 0.
    """
    if number <= 0:
        raise ValueError(f'test_cfg.nms_pre must be above 0 for an export, got {number}')
    missing = torch.full((scores.shape[0], number), NONE, dtype=scores.dtype, device=scores.device)
    count = scores.shape[1]
    scores, places = best(torch.cat([scores, missing], 1), number)
    return scores, torch.where(places < count, places, 0)


def _product(head: nn.Module, scores: Tensor, factors: Tensor) -> Tensor:
    """How a head makes one score of two."""
    product = scores * factors
    root = isinstance(head, LLAHead) and (head.test_cfg or {}).get('sqrt_score', True)
    return product.sqrt() if root else product


def _decode(coder: nn.Module, priors: Tensor, pred: Tensor, image_shape: tuple) -> Tensor:
    """Boxes of a batch; the coder decodes them as one list, and clips."""
    batch, count = pred.shape[:2]
    boxes = get_box_tensor(coder.decode(priors.flatten(0, 1), pred.flatten(0, 1), max_shape=None))
    boxes = boxes.reshape(batch, count, 4)
    return clip(boxes, image_shape) if coder.clip_border else boxes


def clip(boxes: Tensor, image_shape: tuple) -> Tensor:
    """Boxes (..., 4) within a picture of (height, width)."""
    height, width = image_shape
    x1, y1, x2, y2 = boxes.unbind(-1)
    x1, x2 = (x.clamp(min=0, max=width) for x in (x1, x2))
    y1, y2 = (y.clamp(min=0, max=height) for y in (y1, y2))
    return torch.stack([x1, y1, x2, y2], -1)


def _of_size(head: nn.Module, found: Candidates) -> Candidates:
    """Without empty boxes, if ``min_bbox_size`` is 0."""
    if head.test_cfg.get('min_bbox_size', -1) < 0:
        return found
    some = (found.boxes[..., 2:] > found.boxes[..., :2]).all(-1)
    return found._replace(scores=torch.where(some, found.scores, NONE))
