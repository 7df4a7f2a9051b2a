"""Operators that ONNX has and torch lacks, as custom operators with their ONNX translations.

torch's ``topk`` returns any of equal scores, ONNX's ``TopK`` the first ones. torch has no NMS, and
the output of ONNX's ``NonMaxSuppression`` has no fixed length; here it is a mask.
"""

from __future__ import annotations

import torch
from mmcv.ops import nms
from torch import Tensor

#: ONNX operator set of the exported files.
OPSET = 18


@torch.library.custom_op('mmdet_lla::topk_stable', mutates_args=())
def topk_stable(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k best scores in descending order; of equal scores the first ones.

    Args:
        scores (Tensor): (N, n), n >= k.
        k (int): Number of scores per row.

    Returns:
        tuple[Tensor, Tensor]: Scores and their indices, int64, both (N, k).

    Example:
        >>> topk_stable(torch.tensor([[0.1, 0.5, 0.5]]), 2)
        (tensor([[0.5000, 0.5000]]), tensor([[1, 2]]))
    """
    scores, indices = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :k].contiguous(), indices[:, :k].contiguous()


@topk_stable.register_fake
def _(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shape = (scores.shape[0], k)
    return scores.new_empty(shape), scores.new_empty(shape, dtype=torch.int64)


@torch.library.custom_op('mmdet_lla::nms_mask', mutates_args=())
def nms_mask(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    """Return which boxes NMS keeps.

    Args:
        boxes (Tensor): ``(x1, y1, x2, y2)``, best first, (N, n, 4).
        scores (Tensor): In descending order, (N, n); boxes with a score below 0 are ignored.
        iou_threshold (float): A box with a larger IoU with a better kept box is suppressed.
        limit (int): Maximum number of kept boxes per image.

    Returns:
        Tensor: bool, (N, n).

    Example:
        >>> boxes = torch.tensor([[[0.0, 0, 8, 8], [0, 0, 8, 7], [9, 9, 12, 12]]])
        >>> nms_mask(boxes, torch.tensor([[0.9, 0.8, -1.0]]), 0.5, 10)
        tensor([[ True, False, False]])
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for i, (img_boxes, img_scores) in enumerate(zip(boxes, scores, strict=True)):
        count = int((img_scores >= 0).sum())
        if count and limit:
            rank = torch.arange(count, 0, -1, dtype=boxes.dtype, device=boxes.device)
            _, kept = nms(img_boxes[:count].contiguous(), rank, iou_threshold)
            keep[i, kept[:limit]] = True
    return keep


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def register_symbolics() -> None:
    """Register the translations for ``torch.onnx.export(dynamo=False)``."""
    from torch.onnx import register_custom_op_symbolic, symbolic_helper

    class Builder:
        """Adds nodes to the graph of the exporter, called as onnxscript's opset is."""

        def __init__(self, graph) -> None:
            self.graph = graph

        def __getattr__(self, name: str):
            def add_node(*inputs, **attributes):
                kinds = {int: 'i', float: 'f', list: 'i'}
                named = {f'{key}_{kinds[type(value)]}': value for key, value in attributes.items()}
                return self.graph.op(name, *inputs, **named)

            return add_node

        def constant(self, value):
            return self.graph.op('Constant', value_t=torch.tensor(value))

    @symbolic_helper.parse_args('v', 'i')
    def topk(graph, scores, k):
        return graph.op('TopK', scores, Builder(graph).constant([k]), axis_i=1, outputs=2)

    @symbolic_helper.parse_args('v', 'v', 'f', 'i')
    def mask(graph, boxes, scores, iou_threshold, limit):
        builder = Builder(graph)
        return _build_nms_mask(builder, builder.constant, boxes, scores, iou_threshold, limit)

    register_custom_op_symbolic('mmdet_lla::topk_stable', topk, OPSET)
    register_custom_op_symbolic('mmdet_lla::nms_mask', mask, OPSET)


def onnxscript_translations() -> dict:
    """Return the translations for ``torch.onnx.export(dynamo=True)``."""
    from onnx.helper import make_tensor
    from onnxscript import opset18 as op

    def constant(value):
        array = torch.tensor(value).numpy()
        kind = 1 if array.dtype.kind == 'f' else 7  # TensorProto.FLOAT, INT64
        return op.Constant(value=make_tensor('value', kind, array.shape, array.flatten()))

    def topk(scores, k: int):
        return op.TopK(scores, constant([k]), axis=1)

    def mask(boxes, scores, iou_threshold: float, limit: int):
        return _build_nms_mask(op, constant, boxes, scores, iou_threshold, limit)

    ours = torch.ops.mmdet_lla
    return {ours.topk_stable.default: topk, ours.nms_mask.default: mask}


def _build_nms_mask(op, constant, boxes, scores, iou_threshold: float, limit: int):
    """Build :func:`nms_mask` of ONNX operators, with the builder of either exporter."""
    # ranks instead of scores: every runtime orders them alike, also where scores are equal
    count = op.Squeeze(op.Shape(scores, start=1, end=2))
    rank = op.Cast(op.Range(count, constant(0), constant(-1)), to=1)
    ranks = op.Where(op.GreaterOrEqual(scores, constant(0.0)), rank, constant(-1.0))
    ranks = op.Unsqueeze(ranks, constant([1]))
    settings = constant([limit]), constant([iou_threshold]), constant([0.5])
    kept = op.NonMaxSuppression(boxes, ranks, *settings)
    # columns image and box, without that of the class, of which there is one
    places = op.Gather(kept, constant([0, 2]), axis=1)
    ones = op.Expand(constant([1.0]), op.Shape(places, start=0, end=1))
    none = op.Expand(constant([0.0]), op.Shape(scores))
    return op.Greater(op.ScatterND(none, places, ones), constant(0.5))
