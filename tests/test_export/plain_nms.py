"""NMS as a loop over boxes."""

import numpy as np

from mmdet_lla.utils.boxes import box_iou


def plain_nms(boxes, scores, labels, iou_threshold: float, limit: int) -> np.ndarray:
    """Mask of the kept boxes; of equal scores the first ones come first, those below 0 never."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind='stable').tolist():
        better = [j for j in kept if labels[j] == labels[i]]
        if scores[i] >= 0 and not (box_iou(boxes[[i]], boxes[better]) > iou_threshold).any():
            kept.append(i)
    mask = np.zeros(len(boxes), bool)
    mask[kept[:limit]] = True
    return mask
