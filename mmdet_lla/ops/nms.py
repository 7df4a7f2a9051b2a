"""Non-maximum suppression as mmcv's compiled operators do it, in order and in rounding."""

import numpy as np
import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

#: Boxes, best first, that are settled among themselves before the rest is looked at.
_BLOCK = 64
#: Boxes of the rest that are compared with a block at once, so that all stays in the cache.
_CHUNK = 2048


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS: the best box stays, and takes away all that overlap it by more than a threshold.

    Args:
        boxes (Tensor): (N, 4) corners in pixels.
        scores (Tensor): (N,).
        iou_threshold (float): Largest IoU that is left, as a float32.
        offset (int): 1 where a box holds its right and lower edge, else 0.

    Returns:
        Tensor: (M,) int64, indices of the boxes that stay, best first; equal scores in the order
        of ``scores.sort``.
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
    """Indices of the boxes that stay, of (N, 4) boxes in the order in which they are settled."""
    rest = _sides_and_area(boxes, offset)
    indices = torch.arange(len(boxes))
    kept = []
    while len(indices):
        head = rest[:, :_BLOCK]
        winners = torch.tensor(_settle((_overlaps(head, head, offset) > iou_threshold).numpy()))
        kept.append(indices[winners])
        rest, indices = rest[:, _BLOCK:], indices[_BLOCK:]
        stays = [
            ~(_overlaps(head[:, winners], chunk, offset) > iou_threshold).any(0)
            for chunk in rest.split(_CHUNK, dim=1)
        ]
        stays = torch.cat(stays)
        rest, indices = rest[:, stays], indices[stays]
    return torch.cat(kept)


def _sides_and_area(boxes: Tensor, offset: int) -> Tensor:
    """(5, N) x1, y1, x2, y2 and area of (N, 4) boxes."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([x1, y1, x2, y2, (x2 - x1 + offset) * (y2 - y1 + offset)])


def _overlaps(first: Tensor, second: Tensor, offset: int) -> Tensor:
    """(M, N) IoU of (5, M) and (5, N) boxes; the operations and their order are the operator's."""
    first = first[..., None]
    width = torch.minimum(first[2], second[2]).sub_(torch.maximum(first[0], second[0]))
    height = torch.minimum(first[3], second[3]).sub_(torch.maximum(first[1], second[1]))
    if offset:
        width, height = width.add_(offset), height.add_(offset)
    intersection = width.clamp_(min=0).mul_(height.clamp_(min=0))
    return intersection.div_((first[4] + second[4]).sub_(intersection))


def _settle(suppresses: np.ndarray) -> list[int]:
    """Which of N boxes stay, where (N, N) tells whether the row takes away the column."""
    gone = np.zeros(len(suppresses), dtype=bool)
    winners = []
    for index, row in enumerate(suppresses):
        if not gone[index]:
            winners.append(index)
            gone |= row
    return winners


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of NMS: each box that stays, and after it those it took away, best first.

    Args:
        dets (Tensor): (N, 5) corners and scores.
        iou_threshold (float): Smallest IoU that is taken away, as a float32.
    """
    order = dets[:, 4].sort(0, descending=True)[1]
    rest = _sides_and_area(dets[order, :4], 0)
    groups = []
    while len(order):
        taken = _overlaps(rest[:, :1], rest, 0)[0] >= float(np.float32(iou_threshold))
        taken[0] = False  # itself, whose IoU is NaN where it is empty
        groups.append([order[0].item(), *order[taken].tolist()])
        taken[0] = True
        rest, order = rest[:, ~taken], order[~taken]
    return groups


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

    Boxes whose score falls under ``min_score`` go, and the last ones take their places, which
    decides between equal scores.

    Args:
        boxes (Tensor): (N, 4) corners in pixels, on the CPU as all that follows.
        scores (Tensor): (N,).
        dets (Tensor): (N, 5); its first rows become the corners and scores of what is left.
        iou_threshold (float): IoU from which methods 0 and 1 lower a score.
        sigma (float): Variance of method 2.
        min_score (float): Lowest score that is left.
        method (int): 0 takes boxes away, 1 lowers by ``1 - iou``, 2 by ``exp(-iou ** 2 / sigma)``.
        offset (int): 1 where a box holds its right and lower edge, else 0.

    Returns:
        Tensor: (M,) int64, indices of what is left, best first.
    """
    sigma, min_score, iou_threshold = map(np.float32, (sigma, min_score, iou_threshold))
    sides = _sides_and_area(boxes.float(), offset)
    left = np.concatenate([sides.numpy(), scores.float().numpy()[None]])  # 4 sides, area, score
    indices = np.arange(len(boxes))
    first = 0
    while first < len(indices):
        best = first + _argmax(left[5, first:])
        for values in (left, indices):
            values[..., [first, best]] = values[..., [best, first]]
        iou = _overlaps(
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
        order = _close_gaps(~(left[5, first:] < min_score)) + first
        left = np.concatenate([left[:, :first], left[:, order]], axis=1)
        indices = np.concatenate([indices[:first], indices[order]])
    dets[: len(indices)] = torch.from_numpy(left[[0, 1, 2, 3, 5]].T)
    return torch.from_numpy(indices)


def _argmax(scores: np.ndarray) -> int:
    """Index of the first highest score; the operator passes over NaN, but for a first one."""
    best = scores.argmax()
    if np.isnan(scores[best]):
        best = 0 if np.isnan(scores[0]) else np.nanargmax(scores)
    return int(best)


def _close_gaps(stays: np.ndarray) -> np.ndarray:
    """Indices of what stays, after the last ones have taken the places of what goes."""
    count = int(stays.sum())
    order = np.arange(count)
    order[~stays[:count]] = count + np.flatnonzero(stays[count:])[::-1]
    return order
