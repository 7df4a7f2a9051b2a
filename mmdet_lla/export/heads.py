"""Candidates of one-stage heads: what their inference passes to NMS, for a whole batch.

The arithmetic is that of mmdet's ``predict_by_feat``, in fixed shapes: each level always gives
``nms_pre`` candidates, of which those below the threshold have score -1. One decoder serves every
head whose inference is that of ``BaseDenseHead`` (RetinaNet, FCOS, ATSS, LLAHead and others) and
RTMDet; YOLOX has its own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmdet.models.dense_heads import RTMDetHead, YOLOXHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor, nn

from ..heads import LLAHead
from ..heads.lla_head import calibrate_scores
from .operators import topk_stable

#: Candidates of YOLOX, whose inference sets no limit; a graph needs one.
YOLOX_CANDIDATES = 5000
#: Score of padding and of predictions below the threshold.
NO_SCORE = -1.0


class Candidates(NamedTuple):
    """Input of NMS.

    Attributes:
        boxes (Tensor): ``(x1, y1, x2, y2)`` in pixels of the input, (N, M, 4).
        scores (Tensor): ``NO_SCORE`` where there is no candidate, (N, M).
        labels (Tensor): int64, (N, M).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def check_head(head: nn.Module) -> None:
    """Raise ValueError if the inference of a head cannot be exported."""
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
            'other values depend on the original size of an image'
        )
    if head.test_cfg.get('nms_pre', -1) <= 0 and not isinstance(head, YOLOXHead):
        raise ValueError('test_cfg.nms_pre must be above 0 for an export')


def compute_candidates(head: nn.Module, outs: tuple, img_shape: tuple) -> Candidates:
    """Decode a head's outputs.

    Args:
        head (nn.Module): One that :func:`check_head` accepts.
        outs (tuple): What its ``forward`` returned.
        img_shape (tuple): Height and width of the input before padding.
    """
    if isinstance(head, YOLOXHead):
        return _decode_yolox(head, *outs)
    return _decode_base(head, *outs, img_shape=img_shape)


def _decode_base(
    head: nn.Module,
    cls_scores: list[Tensor],
    bbox_preds: list[Tensor],
    score_factors: list[Tensor] | None = None,
    *,
    img_shape: tuple,
) -> Candidates:
    """Decode as ``BaseDenseHead._predict_by_feat_single`` and that of RTMDet do."""
    cfg, batch = head.test_cfg, cls_scores[0].shape[0]
    mlvl_priors = _make_priors(head, cls_scores)
    num_classes = head.cls_out_channels - (not head.use_sigmoid_cls)
    parts = []
    for i, (cls_score, bbox_pred, priors) in enumerate(
        zip(cls_scores, bbox_preds, mlvl_priors, strict=True)
    ):
        scores = _flatten(cls_score, head.cls_out_channels)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
        scores = scores.reshape(batch, -1)  # (N, priors * classes)
        scores = torch.where(scores > cfg.get('score_thr', 0), scores, NO_SCORE)
        scores, places = _topk_padded(scores, cfg.nms_pre)
        index = torch.div(places, num_classes, rounding_mode='floor')
        pred = _gather(_flatten(bbox_pred, head.bbox_coder.encode_size), index)
        if score_factors is not None:
            factor = _gather(_flatten(score_factors[i], 1).sigmoid(), index)[..., 0]
            scores = torch.where(scores > NO_SCORE, _combine_scores(head, scores, factor), NO_SCORE)
        parts.append((pred, priors[index], scores, places % num_classes))
    pred, priors, scores, labels = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    boxes = _decode_boxes(head.bbox_coder, priors, pred, img_shape)
    if head.test_cfg.get('min_bbox_size', -1) == 0:
        valid = (boxes[..., 2:] > boxes[..., :2]).all(-1)
        scores = torch.where(valid, scores, NO_SCORE)
    return Candidates(boxes, scores, labels)


def _decode_yolox(
    head: YOLOXHead, cls_scores: list[Tensor], bbox_preds: list[Tensor], objectnesses: list[Tensor]
) -> Candidates:
    """Decode as ``YOLOXHead.predict_by_feat``: each prior with its best class."""
    cls_score, pred, objectness = (
        torch.cat([_flatten(level, size) for level in levels], 1)
        for levels, size in (
            (cls_scores, head.cls_out_channels),
            (bbox_preds, 4),
            (objectnesses, 1),
        )
    )
    scores, labels = cls_score.sigmoid().max(-1)
    scores = objectness[..., 0].sigmoid() * scores
    scores = torch.where(scores >= head.test_cfg.score_thr, scores, NO_SCORE)
    scores, index = _topk_padded(scores, YOLOX_CANDIDATES)
    priors = torch.cat(_make_priors(head, cls_scores, with_stride=True))[index]
    boxes = head._bbox_decode(priors.flatten(0, 1), _gather(pred, index).flatten(0, 1))
    return Candidates(boxes.reshape(*index.shape, 4), scores, labels.gather(1, index))


def _make_priors(head: nn.Module, cls_scores: list[Tensor], **kwargs) -> list[Tensor]:
    """Return the priors per level, (num_priors, 2 or 4)."""
    sizes = [score.shape[-2:] for score in cls_scores]
    levels = head.prior_generator.grid_priors(
        sizes, dtype=cls_scores[0].dtype, device=cls_scores[0].device, **kwargs
    )
    return [get_box_tensor(level) for level in levels]


def _flatten(preds: Tensor, size: int) -> Tensor:
    """(N, priors * size, H, W) to (N, H * W * priors, size)."""
    return preds.permute(0, 2, 3, 1).reshape(preds.shape[0], -1, size)


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Index (N, n, size) by (N, m) to (N, m, size)."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _topk_padded(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """:func:`topk_stable` of rows that may be shorter; missing ones are ``NO_SCORE``, index 0."""
    count = scores.shape[1]
    scores, index = topk_stable(torch.nn.functional.pad(scores, (0, k), value=NO_SCORE), k)
    return scores, torch.where(index < count, index, 0)


def _combine_scores(head: nn.Module, scores: Tensor, factors: Tensor) -> Tensor:
    """Combine class scores and score factors as the head does."""
    product = scores * factors
    if not isinstance(head, LLAHead):
        return product
    cfg = head.test_cfg or {}
    if cfg.get('sqrt_score', True):
        product = product.sqrt()
    if cfg.get('score_calibration'):
        product = calibrate_scores(product, *cfg['score_calibration'])
    return product


def _decode_boxes(coder: nn.Module, priors: Tensor, pred: Tensor, img_shape: tuple) -> Tensor:
    """Decode a batch; coders take one list of boxes and clip it to one shape."""
    boxes = coder.decode(priors.flatten(0, 1), pred.flatten(0, 1), max_shape=None)
    boxes = get_box_tensor(boxes).reshape(*pred.shape[:2], 4)
    return clip_boxes(boxes, img_shape) if coder.clip_border else boxes


def clip_boxes(boxes: Tensor, img_shape: tuple) -> Tensor:
    """Clip boxes (..., 4) to an image of (height, width).

    Example:
        >>> clip_boxes(torch.tensor([-3.0, 2, 9, 5]), (4, 8))
        tensor([0., 2., 8., 4.])
    """
    height, width = img_shape
    x1, y1, x2, y2 = boxes.unbind(-1)
    x1, x2 = (x.clamp(min=0, max=width) for x in (x1, x2))
    y1, y2 = (y.clamp(min=0, max=height) for y in (y1, y2))
    return torch.stack([x1, y1, x2, y2], -1)
