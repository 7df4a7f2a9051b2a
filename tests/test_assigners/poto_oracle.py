"""POTO's rules spelled out on full tables in float64, with scipy's solver of dense tables."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .oracle import Answer, central_table, inside_table, iou_table


class Matching(NamedTuple):
    quality: Tensor  # (num_boxes, num_priors), -1 where not a candidate
    best_sum: float  # of (quality + 1) of the candidate pairs in the best matching
    num_forced: int  # boxes that get a prior which is no candidate


def quality_table(preds, probs, boxes, classes, alpha: float) -> Tensor:
    ious = iou_table(boxes.double(), preds.double())
    return probs.double().T[classes] ** (1 - alpha) * ious**alpha


def candidate_table(points, strides: Tensor | None, boxes, radius: float) -> Tensor:
    points, boxes = points.double(), boxes.double()
    inside = inside_table(boxes, points, 0.0)
    if radius:
        inside &= central_table(boxes, points, radius * strides.double())
    return inside


def match(quality: Tensor, is_candidate: Tensor) -> Matching:
    quality = torch.where(is_candidate, quality, -1.0)
    rows, columns = linear_sum_assignment(quality.numpy(), maximize=True)
    chosen = quality[rows, columns]
    return Matching(quality, (chosen + 1).sum().item(), int((chosen < 0).sum()))


def argmax(quality: Tensor, is_candidate: Tensor) -> Answer:
    quality = torch.where(is_candidate, quality, -1.0)
    best = quality.sort(dim=1, descending=True, stable=True)
    margins = [(best.values[:, 0] - best.values[:, 1]).min()] if quality.size(1) > 1 else []
    wanted = torch.full_like(quality, -1.0)
    wanted.scatter_(1, best.indices[:, :1], best.values[:, :1])
    return _settle(wanted, margins)


def auxiliary(quality: Tensor, inside: Tensor, level_sizes: list[int], topk: int) -> Answer:
    picked = torch.zeros_like(inside)
    margins = []
    for level, mark in zip(
        quality.split(level_sizes, 1), picked.split(level_sizes, 1), strict=True
    ):
        best = level.sort(dim=1, descending=True, stable=True)
        mark.scatter_(1, best.indices[:, :topk], True)
        if level.size(1) > topk:
            margins.append((best.values[:, topk - 1] - best.values[:, topk]).min())
    values = quality[picked].reshape(len(quality), -1)
    threshold = values.mean(1) + (values.std(1) if values.size(1) > 1 else 0.0)
    margins.append((values - threshold[:, None]).abs().min())
    foreground = picked & inside & (quality >= threshold[:, None])
    return _settle(torch.where(foreground, quality, -1.0), margins)


def _settle(wanted: Tensor, margins: list[Tensor]) -> Answer:
    """Give each prior to the gt of the highest quality that is not -1, the first if equal."""
    best = wanted.sort(dim=0, descending=True, stable=True)
    contested = (wanted >= 0).sum(0) > 1
    if contested.any():
        margins = [*margins, (best.values[0] - best.values[1])[contested].min()]
    owner = torch.where(best.values[0] >= 0, best.indices[0], -1)
    return Answer(owner, min([float(margin) for margin in margins], default=torch.inf))
