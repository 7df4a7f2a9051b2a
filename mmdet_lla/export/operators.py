"""Operators that torch does not have in the form that ONNX has them.

torch's ``topk`` takes any of equal scores, ONNX's ``TopK`` those that come first. torch has no NMS,
and the list that ONNX's ``NonMaxSuppression`` gives has no length that is known before; here it is
a mask.
"""

from __future__ import annotations

import torch
from mmcv.ops import nms
from torch import Tensor


@torch.library.custom_op('mmdet_lla::best', mutates_args=())
def best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The best scores, falling; of equal ones those that come first.

    Args:
        scores (Tensor): (N, n), at least ``number`` a row.
        number (int): How many.

    Returns:
        tuple[Tensor, Tensor]: Scores and their places, int64, both (N, number).
    """
    scores, places = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :number].contiguous(), places[:, :number].contiguous()


@best.register_fake
def _(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    shape = (scores.shape[0], number)
    return scores.new_empty(shape), scores.new_empty(shape, dtype=torch.int64)


@torch.library.custom_op('mmdet_lla::keep_best', mutates_args=())
def keep_best(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    """Which boxes NMS keeps.

    Args:
        boxes (Tensor): ``(x1, y1, x2, y2)``, best first, (N, n, 4).
        scores (Tensor): Falling, (N, n); those below 0 are no candidates.
        iou_threshold (float): Above it a worse box falls.
        limit (int): Most boxes kept of a picture.

    Returns:
        Tensor: bool, (N, n).
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for picture, (own, score) in enumerate(zip(boxes, scores, strict=True)):
        count = int((score >= 0).sum())
        if count and limit:
            rank = torch.arange(count, 0, -1, dtype=own.dtype, device=own.device)
            _, places = nms(own[:count].contiguous(), rank, iou_threshold)
            keep[picture, places[:limit]] = True
    return keep


@keep_best.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def translations() -> dict:
    """For ``torch.onnx.export``: what becomes of the operators."""
    from onnxscript import opset18 as op

    def best_in_onnx(scores, number: int):
        return op.TopK(scores, op.Constant(value_ints=[number]), axis=1, largest=1, sorted=1)

    def keep_best_in_onnx(boxes, scores, iou_threshold: float, limit: int):
        # Ranks for scores: their order is plain to every runtime, also where scores are equal.
        count = op.Shape(scores, start=1, end=2)
        rank = op.Cast(op.Range(op.Squeeze(count), 0, -1), to=1)
        ranks = op.Where(op.GreaterOrEqual(scores, 0.0), rank, -1.0)
        kept = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(ranks, [1]),
            op.Constant(value_ints=[limit]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[0.5]),
        )
        # columns picture and box, without that of the class, of which there is one
        places = op.Gather(kept, [0, 2], axis=1)
        ones = op.Expand(op.Constant(value_floats=[1.0]), op.Shape(places, start=0, end=1))
        none = op.Expand(op.Constant(value_floats=[0.0]), op.Shape(scores))
        return op.Greater(op.ScatterND(none, places, ones), 0.5)

    ours = torch.ops.mmdet_lla
    return {ours.best.default: best_in_onnx, ours.keep_best.default: keep_best_in_onnx}
