"""NMS and Soft-NMS, equal to mmcv's compiled operators in order and rounding."""

import numpy as np
import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

#: Boxes, best first, that are compared with each other before the remaining ones.
_BLOCK = 64
#: Remaining boxes that are compared with a block at a time, so that all fits in the cache.
_CHUNK = 2048


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS: keep the best box and suppress all that overlap it by more than a threshold.

    Args:
        boxes (Tensor): Corners in pixels, (N, 4).
        scores (Tensor): (N,).
        iou_threshold (float): Largest allowed IoU, as a float32.
        offset (int): 1 where a box includes its right and lower edge, else 0.

    Returns:
        Tensor: Indices of the kept boxes, best first, int64, (M,); equal scores in the order of
        ``scores.sort``.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 7], [9, 9, 12, 12]])
        >>> nms(boxes, torch.tensor([0.7, 0.9, 0.8]), 0.5, 0)
        tensor([1, 2])
    """
    if not len(boxes):
        return boxes.new_zeros(0, dtype=torch.long)
    iou_threshold = float(np.float32(iou_threshold))
    order = scores.sort(0, descending=True)[1]
    boxes = boxes[order]
    torchvision = None if offset else torchvision_ops(boxes.device.type)
    if torchvision is not None:
        ranks = torch.arange(len(boxes), 0, -1, device=boxes.device, dtype=torch.float32)
        return order[torchvision.nms(boxes, ranks.to(boxes.dtype), iou_threshold)]
    if boxes.dtype in (torch.float16, torch.bfloat16):
        boxes = boxes.float()
    return order[_keep(boxes.cpu(), iou_threshold, offset).to(order.device)]


def _keep(boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes, of (N, 4) boxes sorted best first."""
    rest = _to_sides_and_area(boxes, offset)
    indices = torch.arange(len(boxes))
    kept = []
    while len(indices):
        head = rest[:, :_BLOCK]
        winners = torch.tensor(
            _suppress((_compute_ious(head, head, offset) > iou_threshold).numpy())
        )
        kept.append(indices[winners])
        rest, indices = rest[:, _BLOCK:], indices[_BLOCK:]
        keep = [
            ~(_compute_ious(head[:, winners], chunk, offset) > iou_threshold).any(0)
            for chunk in rest.split(_CHUNK, dim=1)
        ]
        keep = torch.cat(keep)
        rest, indices = rest[:, keep], indices[keep]
    return torch.cat(kept)


def _to_sides_and_area(boxes: Tensor, offset: int) -> Tensor:
    """Boxes (N, 4) to rows x1, y1, x2, y2 and area, (5, N)."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([x1, y1, x2, y2, (x2 - x1 + offset) * (y2 - y1 + offset)])


def _compute_ious(first: Tensor, second: Tensor, offset: int) -> Tensor:
    """IoU (M, N) of boxes (5, M) and (5, N), in the order of operations of the operator."""
    first = first[..., None]
    width = torch.minimum(first[2], second[2]).sub_(torch.maximum(first[0], second[0]))
    height = torch.minimum(first[3], second[3]).sub_(torch.maximum(first[1], second[1]))
    if offset:
        width, height = width.add_(offset), height.add_(offset)
    intersection = width.clamp_(min=0).mul_(height.clamp_(min=0))
    return intersection.div_((first[4] + second[4]).sub_(intersection))


def _suppress(suppresses: np.ndarray) -> list[int]:
    """Indices of the kept boxes, where (N, N) says whether the row suppresses the column."""
    suppressed = np.zeros(len(suppresses), dtype=bool)
    winners = []
    for index, row in enumerate(suppresses):
        if not suppressed[index]:
            winners.append(index)
            suppressed |= row
    return winners


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (arXiv 1704.04503): the best box lowers the scores of those that overlap it.

    Boxes whose score falls below ``min_score`` are removed and the last ones take their places,
    which decides between equal scores.

    Args:
        boxes (Tensor): Corners in pixels, (N, 4), on the CPU like all others.
        scores (Tensor): (N,).
        dets (Tensor): (N, 5); its first rows receive corners and scores of the remaining boxes.
        iou_threshold (float): Methods 0 and 1 lower scores from this IoU.
        sigma (float): Variance of method 2.
        min_score (float): Lowest remaining score.
        method (int): Multiply scores by 0: zero, 1: ``1 - iou``, 2: ``exp(-iou ** 2 / sigma)``.
        offset (int): 1 where a box includes its right and lower edge, else 0.

    Returns:
        Tensor: Indices of the remaining boxes, best first, int64, (M,).

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4]])
        >>> dets = torch.empty(2, 5)
        >>> softnms(boxes, torch.tensor([0.9, 0.8]), dets, 0.3, 0.5, 0.0, 1, 0)
        tensor([0, 1])
        >>> dets[:, 4]
        tensor([0.9000, 0.4000])
    """
    sigma, min_score, iou_threshold = map(np.float32, (sigma, min_score, iou_threshold))
    sides = _to_sides_and_area(boxes.float(), offset)
    left = np.concatenate(
        [sides.numpy(), scores.float().numpy()[None]]
    )  # rows: 4 sides, area, score
    indices = np.arange(len(boxes))
    first = 0
    while first < len(indices):
        best = first + _argmax(left[5, first:])
        for values in (left, indices):
            values[..., [first, best]] = values[..., [best, first]]
        iou = _compute_ious(
            torch.from_numpy(left[:5, first : first + 1]),
            torch.from_numpy(left[:5, first + 1 :]),
            offset,
        )[0].numpy()
        if method == 2:
            # In double precision, as the rounding of a float's exp differs between libraries.
            weight = np.exp((-(iou * iou) / sigma).astype(np.float64)).astype(np.float32)
        else:
            weight = np.where(iou >= iou_threshold, 0 if method == 0 else 1 - iou, np.float32(1))
        left[5, first + 1 :] *= weight
        first += 1
        order = _fill_gaps(~(left[5, first:] < min_score)) + first
        left = np.concatenate([left[:, :first], left[:, order]], axis=1)
        indices = np.concatenate([indices[:first], indices[order]])
    dets[: len(indices)] = torch.from_numpy(left[[0, 1, 2, 3, 5]].T)
    return torch.from_numpy(indices)


def _argmax(scores: np.ndarray) -> int:
    """Index of the first highest score; like the operator, skip NaN unless it comes first."""
    return 0 if np.isnan(scores[0]) else int(np.nanargmax(scores))


def _fill_gaps(keep: np.ndarray) -> np.ndarray:
    """Indices of what is kept, the last ones moved to the places of what is removed."""
    count = int(keep.sum())
    order = np.arange(count)
    order[~keep[:count]] = count + np.flatnonzero(keep[count:])[::-1]
    return order
