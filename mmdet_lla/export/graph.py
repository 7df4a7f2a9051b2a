"""A detector as one graph: pictures in uint8 in, detections out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.dense_heads import YOLOXHead
from torch import Tensor, nn
from torch.nn.functional import pad

from .heads import NONE, Candidates, candidates_of, check_head, clip
from .operators import best, keep_best

#: Detections a picture where the head's config sets no limit.
USUAL_LIMIT = 1000


class Found(NamedTuple):
    """Detections of a batch, best first; where there are fewer, label -1 and zeros follow.

    Attributes:
        boxes (Tensor): ``(x1, y1, x2, y2)`` in pixels of the input, float32, (N, K, 4).
        scores (Tensor): float32, (N, K).
        labels (Tensor): int64, (N, K).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class DetectorGraph(nn.Module):
    """Everything between a picture and its detections.

    Of detections with equal scores the one comes first whose level is finer, then the one whose
    class score is better, then the one whose prior comes first: as in mmdet on a CPU.

    Args:
        model (nn.Module): A one-stage detector of mmdet's.
        rgb (bool): Whether pictures come in RGB. Defaults to False, BGR.

    Raises:
        ValueError: The detector cannot be exported; says why.
    """

    def __init__(self, model: nn.Module, rgb: bool = False) -> None:
        super().__init__()
        head = getattr(model, 'bbox_head', None)
        if head is None or getattr(model, 'roi_head', None) is not None:
            raise ValueError(
                f'{type(model).__name__} is no one-stage detector; only those are exported'
            )
        check_head(head)
        self.model = fuse_conv_bn(model.eval())
        cfg = head.test_cfg
        # YOLOX's inference heeds no limit
        limited = cfg.get('max_per_img') and not isinstance(head, YOLOXHead)
        self.limit = int(cfg.max_per_img if limited else USUAL_LIMIT)
        # None: LLAHead without NMS, whose candidates are the detections
        self.nms = cfg.get('nms') if getattr(head, 'needs_nms', True) else None
        self.clip_detections = bool(cfg.get('clip_detections', False))
        steps = model.data_preprocessor
        # the model's order of channels, from the order in which they come
        self.swap = bool(steps._channel_conversion) != rgb
        mean, std = (
            getattr(steps, name).flatten() if steps._enable_normalize else torch.full((3,), value)
            for name, value in (('mean', 0.0), ('std', 1.0))
        )
        self.register_buffer('mean', mean.reshape(1, 3, 1, 1).clone())
        self.register_buffer('std', std.reshape(1, 3, 1, 1).clone())
        self.divisor, self.pad_value = steps.pad_size_divisor, float(steps.pad_value)

    def forward(self, images: Tensor) -> Found:
        """Detect in a batch.

        Args:
            images (Tensor): uint8, (N, H, W, 3).
        """
        shape = images.shape[1:3]
        outs = self.model.bbox_head(self.model.extract_feat(self.prepare(images)))
        return self.choose(candidates_of(self.model.bbox_head, outs, shape), shape)

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised, and filled up to multiples of the divisor, (N, 3, H', W')."""
        inputs = images.permute(0, 3, 1, 2)
        if self.swap:
            inputs = inputs.flip(1)
        inputs = (inputs.float() - self.mean) / self.std
        below, right = (-side % self.divisor for side in inputs.shape[2:])
        return pad(inputs, (0, right, 0, below), value=self.pad_value)

    def choose(self, found: Candidates, shape: tuple) -> Found:
        """NMS, the limit of detections, and what comes after them."""
        count = found.scores.shape[1]
        scores, order = best(found.scores, count)
        boxes = _at(found.boxes, order)
        labels = found.labels.gather(1, order)
        if self.nms is None:
            place = torch.arange(scores.shape[1], device=scores.device)
            keep = (scores > NONE) & (place < self.limit)
        else:
            apart = boxes
            if not self.nms.get('class_agnostic', False):
                apart = _apart(boxes, labels, scores)
            keep = keep_best(apart, scores, float(self.nms.get('iou_threshold', 0.5)), self.limit)
        if self.clip_detections:
            boxes = clip(boxes, shape)
            keep = keep & (boxes[..., 2:] > boxes[..., :2]).all(-1)
        # those that are kept first, in their order
        rank = torch.arange(keep.shape[1], 0, -1, device=keep.device, dtype=torch.float32)
        some, places = best(torch.where(keep, rank, -1.0), min(self.limit, count))
        some = some > 0
        return Found(
            torch.where(some.unsqueeze(-1), _at(boxes, places), 0.0),
            torch.where(some, scores.gather(1, places), 0.0),
            torch.where(some, labels.gather(1, places), -1),
        )


def _at(boxes: Tensor, places: Tensor) -> Tensor:
    """(N, n, 4) at (N, m) to (N, m, 4)."""
    return boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))


def _apart(boxes: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """Boxes shifted by class, so that those of different classes do not overlap, as mmcv does."""
    farthest = torch.where(scores.unsqueeze(-1) > -1, boxes, 0.0).amax((1, 2))
    return boxes + (labels * (farthest + 1).unsqueeze(1)).unsqueeze(-1)
