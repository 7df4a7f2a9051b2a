"""A detector as one graph: uint8 images in, detections out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.dense_heads import YOLOXHead
from torch import Tensor, nn
from torch.nn.functional import pad

from .heads import NO_SCORE, Candidates, check_head, clip_boxes, compute_candidates
from .operators import nms_mask, topk_stable

#: Maximum detections per image where the head's config sets no limit.
DEFAULT_LIMIT = 1000


class GraphDetections(NamedTuple):
    """Detections of a batch, best first, filled up with zeros and label -1.

    Attributes:
        boxes (Tensor): ``(x1, y1, x2, y2)`` in pixels of the input, float32, (N, K, 4).
        scores (Tensor): float32, (N, K).
        labels (Tensor): int64, (N, K).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class DetectorGraph(nn.Module):
    """Everything between an image and its detections.

    Detections with equal scores are ordered as mmdet does on a CPU: by level, then by class score,
    then by prior.

    Args:
        model (nn.Module): A one-stage detector of mmdet.
        rgb (bool): Whether the images are RGB. Defaults to False, BGR.

    Raises:
        ValueError: The detector cannot be exported; the message says why.
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
        # YOLOX's inference ignores max_per_img
        limited = cfg.get('max_per_img') and not isinstance(head, YOLOXHead)
        self.limit = int(cfg.max_per_img if limited else DEFAULT_LIMIT)
        # None: LLAHead without NMS, whose candidates are the detections
        self.nms = cfg.get('nms') if getattr(head, 'needs_nms', True) else None
        self.clip_detections = bool(cfg.get('clip_detections', False))
        preprocessor = model.data_preprocessor
        # from the channel order of the images to that of the model
        self.swap = bool(preprocessor._channel_conversion) != rgb
        mean, std = (
            getattr(preprocessor, name).flatten()
            if preprocessor._enable_normalize
            else torch.full((3,), value)
            for name, value in (('mean', 0.0), ('std', 1.0))
        )
        self.register_buffer('mean', mean.reshape(1, 3, 1, 1).clone())
        self.register_buffer('std', std.reshape(1, 3, 1, 1).clone())
        self.divisor = preprocessor.pad_size_divisor
        self.pad_value = float(preprocessor.pad_value)
        #: Whether ``forward`` also returns what comes before NMS; exports are checked by it.
        self.with_candidates = False
        self.eval()  # exporters restore the mode of the graph in all its modules

    def forward(self, images: Tensor) -> GraphDetections | tuple:
        """Detect in a batch.

        Args:
            images (Tensor): uint8, (N, H, W, 3).
        """
        shape = images.shape[1:3]
        outs = self.model.bbox_head(self.model.extract_feat(self.preprocess(images)))
        candidates = compute_candidates(self.model.bbox_head, outs, shape)
        detections = self.select(candidates, shape)
        if self.with_candidates:
            return (*detections, candidates.boxes, *(out for level in outs for out in level))
        return detections

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalize images and pad them to multiples of the divisor, (N, 3, H', W')."""
        inputs = images.permute(0, 3, 1, 2)
        if self.swap:
            inputs = inputs.flip(1)
        inputs = (inputs.float() - self.mean) / self.std
        if self.divisor > 1:
            bottom, right = (-side % self.divisor for side in inputs.shape[2:])
            inputs = pad(inputs, (0, right, 0, bottom), value=self.pad_value)
        return inputs

    def select(self, candidates: Candidates, shape: tuple) -> GraphDetections:
        """Apply NMS, the limit of detections, and what follows them."""
        count = int(candidates.scores.shape[1])
        scores, order = topk_stable(candidates.scores, count)
        boxes = _gather_boxes(candidates.boxes, order)
        labels = candidates.labels.gather(1, order)
        if self.nms is None:
            rank = torch.arange(count, device=scores.device)
            keep = (scores > NO_SCORE) & (rank < self.limit)
        else:
            nms_boxes = boxes
            if not self.nms.get('class_agnostic', False):
                nms_boxes = _shift_by_class(boxes, labels, scores)
            threshold = float(self.nms.get('iou_threshold', 0.5))
            keep = nms_mask(nms_boxes, scores, threshold, self.limit)
        if self.clip_detections:
            boxes = clip_boxes(boxes, shape)
            keep = keep & (boxes[..., 2:] > boxes[..., :2]).all(-1)
        # kept ones first, in their order
        rank = torch.arange(count, 0, -1, device=keep.device, dtype=torch.float32)
        rank, order = topk_stable(torch.where(keep, rank, -1.0), min(self.limit, count))
        valid = rank > 0
        return GraphDetections(
            torch.where(valid.unsqueeze(-1), _gather_boxes(boxes, order), 0.0),
            torch.where(valid, scores.gather(1, order), 0.0),
            torch.where(valid, labels.gather(1, order), -1),
        )


def _gather_boxes(boxes: Tensor, index: Tensor) -> Tensor:
    """Index boxes (N, n, 4) by (N, m) to (N, m, 4)."""
    return boxes.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))


def _shift_by_class(boxes: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """Shift boxes by class so that those of different classes do not overlap, as mmcv does."""
    farthest = torch.where(scores.unsqueeze(-1) > NO_SCORE, boxes, 0.0).amax((1, 2))
    return boxes + (labels * (farthest + 1).unsqueeze(1)).unsqueeze(-1)
