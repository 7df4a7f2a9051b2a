"""OTA's rule spelled out on full tables in float64, the penalty of 1e6 and all."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .oracle import Answer, central_table, cost_table, dynamic_topk, inside_table, iou_table


def background_cost(scores: Tensor, form: str) -> Tensor:
    """Focal loss of no class, summed over the classes, (num_priors,)."""
    scores = scores.double()
    prob = scores.sigmoid() if form == 'logits' else scores
    log_not = F.logsigmoid(-scores) if form == 'logits' else (1 - prob).clamp(min=1e-12).log()
    return (-0.75 * prob**2 * log_not).sum(-1)


def candidate_table(points: Tensor, strides: Tensor, boxes: Tensor, radius: float) -> Tensor:
    points, strides, boxes = points.double(), strides.double(), boxes.double()
    return inside_table(boxes, points, 0.01) & central_table(boxes, points, radius * strides)


def solve_ota(
    points: Tensor,
    strides: Tensor,
    preds: Tensor,
    scores: Tensor,
    boxes: Tensor,
    classes: Tensor,
    candidate_topk: int = 20,
    center_radius: float = 2.5,
    cls_weight: float = 1.0,
    reg_weight: float = 1.5,
    sinkhorn_eps: float = 0.1,
    sinkhorn_iters: int = 50,
    score_form: str = 'logits',
) -> Answer:
    num_priors = len(points)
    is_candidate = candidate_table(points, strides, boxes, center_radius)
    ious = iou_table(boxes.double(), preds.double()) * is_candidate
    topk, margin = dynamic_topk(ious, candidate_topk)
    cost = cost_table(
        points,
        preds,
        scores,
        boxes,
        classes,
        cls_weight,
        reg_weight,
        form=score_form,
        candidates='all',
    )
    background = cls_weight * background_cost(scores, score_form)
    cost = torch.cat([cost + 1e6 * ~is_candidate, background[None]])
    left = (num_priors - topk.sum()).clamp(min=0)
    log_supply = (torch.cat([topk, left[None]]).double() + 1e-8).log()
    kernel = -cost / sinkhorn_eps
    u, v = torch.ones(len(cost)).double(), torch.ones(num_priors).double()
    for _ in range(sinkhorn_iters):
        v = v - torch.logsumexp(kernel + u[:, None] + v, 0)
        u = log_supply - torch.logsumexp(kernel + u[:, None] + v, 1) + u
    value = kernel + v
    quotient = value - value.amax(1, keepdim=True)
    ranked = quotient.sort(dim=0, descending=True, stable=True)
    owner = torch.where(ranked.indices[0] < len(boxes), ranked.indices[0], -1)
    lead = ranked.values[0] - ranked.values[1]
    # Two rows with the same best prior tie on purpose; which it is must be clear for both.
    best = value.topk(2, dim=1).values if num_priors > 1 else None
    if (lead == 0).any() and best is not None:
        margin = min(margin, (best[:-1, 0] - best[:-1, 1]).min().item())
    if (lead > 0).any():
        margin = min(margin, lead[lead > 0].min().item())
    return Answer(owner, margin)
