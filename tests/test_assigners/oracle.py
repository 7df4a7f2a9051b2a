"""LLA's rule spelled out on full tables in float64: slow, and plain enough to be checked by eye."""

from typing import NamedTuple

import torch
from torch import Tensor


class Answer(NamedTuple):
    owner: Tensor  # (num_priors,), box index or -1
    margin: float  # how far the nearest decision is from falling the other way


def iou_table(boxes: Tensor, preds: Tensor) -> Tensor:
    size = (torch.minimum(boxes[:, None, 2:], preds[:, 2:]) -
            torch.maximum(boxes[:, None, :2], preds[:, :2])).clamp(min=0)
    inter = size.prod(-1)
    area = lambda b: (b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1)  # noqa: E731
    return inter / (area(boxes)[:, None] + area(preds) - inter).clamp(min=torch.finfo().eps)


def cost_table(points, preds, scores, boxes, classes, cls_weight=1.0, reg_weight=1.5, alpha=0.25,
               gamma=2.0, form='logits') -> Tensor:
    points, preds, scores, boxes = (t.double() for t in (points, preds, scores, boxes))
    prob = scores.sigmoid() if form == 'logits' else scores
    if form == 'logits':
        log_prob = torch.nn.functional.logsigmoid(scores)
        log_not = torch.nn.functional.logsigmoid(-scores)
    else:
        log_prob, log_not = prob.clamp(min=1e-12).log(), (1 - prob).clamp(min=1e-12).log()
    present = torch.nn.functional.one_hot(classes, scores.size(1)).bool()[:, None]
    focal = torch.where(present, -alpha * (1 - prob)**gamma * log_prob,
                        -(1 - alpha) * prob**gamma * log_not).sum(-1)
    reg = -iou_table(boxes, preds).clamp(min=torch.finfo(torch.float32).eps).log()
    inside = (torch.minimum(points - boxes[:, None, :2], boxes[:, None, 2:] - points) >
              0.01).all(-1)
    return cls_weight * focal + reg_weight * reg + 1000 * ~inside


def solve(cost: Tensor, topk: int) -> Answer:
    num_boxes, num_priors = cost.shape
    topk = min(topk, num_priors)
    ranked = cost.sort(dim=1, stable=True)
    picked = torch.zeros_like(cost, dtype=torch.bool)
    picked.scatter_(1, ranked.indices[:, :topk], True)
    margins = [torch.inf]
    if topk < num_priors:
        margins.append((ranked.values[:, topk] - ranked.values[:, topk - 1]).min().item())
    owner = torch.full((num_priors, ), -1)
    for prior in picked.any(0).nonzero().flatten().tolist():
        wanting = picked[:, prior].nonzero().flatten()
        if len(wanting) == 1:
            owner[prior] = wanting[0]
        else:
            order = cost[:, prior].sort(stable=True)
            owner[prior] = order.indices[0]
            margins.append((order.values[1] - order.values[0]).item())
    return Answer(owner, min(margins))
