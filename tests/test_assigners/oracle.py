"""LLA's rule and its knobs spelled out on full tables in float64: slow, and plain enough to be
checked by eye."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Answer(NamedTuple):
    owner: Tensor  # (num_priors,), box index or -1
    margin: float  # how far the nearest decision is from falling the other way


def areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)


def inter_table(boxes: Tensor, preds: Tensor) -> Tensor:
    return (
        (
            torch.minimum(boxes[:, None, 2:], preds[:, 2:])
            - torch.maximum(boxes[:, None, :2], preds[:, :2])
        )
        .clamp(min=0)
        .prod(-1)
    )


def iou_table(boxes: Tensor, preds: Tensor) -> Tensor:
    inter = inter_table(boxes, preds)
    return inter / (areas(boxes)[:, None] + areas(preds) - inter).clamp(min=torch.finfo().eps)


def giou_table(boxes: Tensor, preds: Tensor) -> Tensor:
    hull = (
        (
            torch.maximum(boxes[:, None, 2:], preds[:, 2:])
            - torch.minimum(boxes[:, None, :2], preds[:, :2])
        )
        .clamp(min=0)
        .prod(-1)
    )
    hull = hull.clamp(min=torch.finfo().eps)
    union = areas(boxes)[:, None] + areas(preds) - inter_table(boxes, preds)
    return iou_table(boxes, preds) - (hull - union.clamp(min=torch.finfo().eps)) / hull


def inside_table(boxes: Tensor, points: Tensor, margin: float) -> Tensor:
    return (torch.minimum(points - boxes[:, None, :2], boxes[:, None, 2:] - points) > margin).all(
        -1
    )


def central_table(boxes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((points - center[:, None]).abs() < reach).all(-1)


def cost_table(
    points,
    preds,
    scores,
    boxes,
    classes,
    cls_weight=1.0,
    reg_weight=1.5,
    alpha=0.25,
    gamma=2.0,
    form='logits',
    candidates='inside',
    reach=None,
    cls_cost='focal',
    reg_cost='iou',
    penalty=1000.0,
) -> Tensor:
    points, preds, scores, boxes = (t.double() for t in (points, preds, scores, boxes))
    prob = scores.sigmoid() if form == 'logits' else scores
    if form == 'logits':
        log_prob, log_not = F.logsigmoid(scores), F.logsigmoid(-scores)
    else:
        least = 1e-12 if cls_cost == 'focal' else 3.72e-44  # exp(-100)
        log_prob, log_not = prob.clamp(min=least).log(), (1 - prob).clamp(min=least).log()
    present = F.one_hot(classes, scores.size(1)).bool()[:, None]
    if cls_cost == 'focal':
        cls = torch.where(
            present, -alpha * (1 - prob) ** gamma * log_prob, -(1 - alpha) * prob**gamma * log_not
        ).sum(-1)
    else:
        cls = torch.where(present, -log_prob, -log_not).sum(-1)
    if reg_cost == 'giou':
        reg = 1 - giou_table(boxes, preds)
    elif reg_cost == 'iou':
        reg = -iou_table(boxes, preds).clamp(min=torch.finfo(torch.float32).eps).log()
    else:
        reg = -(iou_table(boxes, preds) + 1e-7).log()
    cost = cls_weight * cls + reg_weight * reg
    if candidates == 'inside':
        cost += penalty * ~inside_table(boxes, points, 0.01)
    elif candidates == 'center':
        cost += penalty * ~(inside_table(boxes, points, 0.0) & central_table(boxes, points, reach))
    return cost


def excluded_priors(priors, points, boxes, ignored, candidates, reach, iof_thr) -> Tensor:
    """Return masks of excluded priors and of those that ignored gts cover, (num_priors,)."""
    boxes, points, ignored, priors = (t.double() for t in (boxes, points, ignored, priors))
    if priors.equal(points):
        covered = inside_table(ignored, points, 0.01).any(0)
    else:
        covered = (inter_table(ignored, priors) > iof_thr * areas(priors)).any(0)
    excluded = covered
    if candidates == 'center':
        excluded = excluded | ~(
            inside_table(boxes, points, 0.0) | central_table(boxes, points, reach)
        ).any(0)
    return excluded, covered


def dynamic_topk(ious: Tensor, candidate_topk: int) -> tuple[Tensor, float]:
    """Return K of every gt, and the distance of the nearest K from another value."""
    total = ious.double().topk(min(candidate_topk, ious.size(1)), dim=1).values.sum(1)
    near = (total - total.round())[total > 0.5].abs()
    return total.long().clamp(min=1), near.min().item() if len(near) else torch.inf


def solve(cost: Tensor, topk, excluded=None, contested='all') -> Answer:
    """``topk`` is K, or K of every box."""
    num_boxes, num_priors = cost.shape
    if excluded is not None:
        cost = cost.masked_fill(excluded, torch.inf)
    num_free = num_priors if excluded is None else int((~excluded).sum())
    topk = torch.as_tensor(topk).expand(num_boxes).unsqueeze(1).clamp(max=num_free)
    ranked = cost.sort(dim=1, stable=True)
    picked = torch.zeros_like(cost, dtype=torch.bool)
    picked.scatter_(1, ranked.indices, torch.arange(num_priors) < topk)
    owner = torch.where(picked.any(0), picked.long().argmax(0), -1)
    several = picked.sum(0) > 1
    competing = picked if contested == 'picked' else torch.ones_like(picked)
    fought = cost.masked_fill(~competing, torch.inf)[:, several].sort(dim=0, stable=True)
    owner[several] = fought.indices[0]
    margins = [torch.inf]
    if 0 < num_free and (topk < num_free).any():
        next_best = ranked.values.gather(1, topk.clamp(max=num_priors - 1))
        last = ranked.values.gather(1, topk - 1)
        margins += (next_best - last)[topk < num_free].tolist()
    if several.any():
        margins += (fought.values[1] - fought.values[0]).tolist()
    return Answer(owner, min(margins))
