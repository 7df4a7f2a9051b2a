"""Example crops of each error type, and the images with the most errors."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ..drawing import FN_COLOR, FP_COLOR, IGNORED_COLOR, TP_COLOR, draw_boxes
from ..figures import data_uri
from .types import FN_TYPES, FP_TYPES, Errors

CROP_SIZE = 320  # longer side in pixels
IMAGE_SIZE = 800  # longer side of a whole image, at most


def draw_examples(
    errors: Errors,
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    image_paths: Mapping[str | int, Path],
    number: int = 6,
) -> dict[str, list[tuple[str, str]]]:
    """Draw crops of the false positives with the highest scores and of the tallest false negatives.

    Returns:
        dict[str, list[tuple[str, str]]]: Data URI and caption of each crop, by error type.
    """
    pairs = errors.pairs
    dets = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in detections)])
    gts = np.concatenate([np.zeros((0, 4)), *(one.gt_bboxes for one in annotations)])
    heights = gts[:, 3] - gts[:, 1]

    def draw(image: int, det: np.ndarray | None, gt: np.ndarray | None, text: str):
        img_id = pairs.img_ids[image]
        crop = _draw_crop(image_paths[img_id], det, gt, gts[pairs.gt_image == image])
        return crop, f'{text}, image {img_id}'

    examples: dict[str, list[tuple[str, str]]] = {}
    for i, name in enumerate(FP_TYPES):
        chosen = np.flatnonzero((errors.fp_type == i) & errors.is_shown)
        chosen = chosen[np.argsort(-pairs.det_score[chosen], kind='stable')][:number]
        examples[name] = [
            draw(
                pairs.det_image[det],
                dets[det],
                gts[errors.fp_gt[det]] if errors.fp_gt[det] >= 0 else None,
                f'score {pairs.det_score[det]:.2f}',
            )
            for det in chosen
        ]
    for i, name in enumerate(FN_TYPES):
        chosen = np.flatnonzero(errors.fn_type == i)
        chosen = chosen[np.argsort(-heights[chosen], kind='stable')][:number]
        examples[name] = [
            draw(pairs.gt_image[gt], None, gts[gt], f'{heights[gt]:.0f} px tall') for gt in chosen
        ]
    return examples


@dataclass(frozen=True)
class WorstImage:
    """Errors in one image.

    Attributes:
        index (int): Index of the image.
        img_id (str | int): ID of the image.
        num_gts (int): Number of gts.
        num_detections (int): Detections of at least the score threshold that are not ignored.
        counts (dict[str, int]): Errors of each type that occurs, false positives first.
    """

    index: int
    img_id: str | int
    num_gts: int
    num_detections: int
    counts: dict[str, int]


def find_worst_images(errors: Errors, number: int = 10) -> list[WorstImage]:
    """Find the images with the most errors; images without errors are left out."""
    pairs = errors.pairs
    counts = errors.count_per_image()
    total = np.sum(list(counts.values()), axis=0)
    num_gts = pairs.count_per_image(pairs.gt_image)
    counted = errors.is_shown & ((errors.fp_type >= 0) | errors.is_tp)
    num_detections = pairs.count_per_image(pairs.det_image[counted])
    order = np.argsort(-total, kind='stable')[:number]
    return [
        WorstImage(
            i,
            pairs.img_ids[i],
            int(num_gts[i]),
            int(num_detections[i]),
            {name: int(count[i]) for name, count in counts.items() if count[i]},
        )
        for i in order[total[order] > 0].tolist()
    ]


def draw_worst_images(
    images: Sequence[WorstImage],
    errors: Errors,
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    image_paths: Mapping[str | int, Path],
) -> list[str]:
    """Draw whole images with TPs, FPs, FNs and ignore regions; returns a data URI for each.

    Args:
        images (Sequence[WorstImage]): Images to draw.
        errors, annotations, detections, image_paths: As in :func:`draw_examples`.
    """
    pairs = errors.pairs
    drawn = []
    for one in images:
        gt, det = annotations[one.index], detections[one.index]
        in_image = pairs.det_image == one.index
        is_fn = errors.fn_type[pairs.gt_image == one.index] >= 0
        parts = (
            (gt.boxes[gt.ignored], IGNORED_COLOR),
            (det.boxes[(errors.is_shown & errors.is_tp)[in_image]], TP_COLOR),
            (det.boxes[(errors.is_shown & (errors.fp_type >= 0))[in_image]], FP_COLOR),
            (gt.gt_bboxes[is_fn], FN_COLOR),
        )
        with Image.open(image_paths[one.img_id]) as file:
            image = file.convert('RGB')
        scale = min(IMAGE_SIZE / max(image.size), 1)
        canvas = np.asarray(image.resize([max(round(side * scale), 1) for side in image.size]))
        for boxes, color in parts:
            canvas = draw_boxes(canvas, boxes * scale, [color] * len(boxes))
        drawn.append(_to_data_uri(canvas))
    return drawn


def _draw_crop(path: Path, det: np.ndarray | None, gt: np.ndarray | None, gts: np.ndarray) -> str:
    """Crop around a detection and a gt, with all gts of the image in gray."""
    boxes = np.array([box for box in (det, gt) if box is not None])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = 0.3 * (high - low).max() + 4
    with Image.open(path) as file:
        image = file.convert('RGB')
    left, top = (round(x) for x in np.maximum(low - margin, 0))
    right, bottom = (round(x) for x in np.minimum(high + margin, image.size))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    scale = CROP_SIZE / max(right - left, bottom - top)
    size = [max(round(side * scale), 1) for side in (right - left, bottom - top)]
    canvas = np.asarray(image.crop((left, top, right, bottom)).resize(size))
    corner = np.array([left, top, left, top])
    canvas = draw_boxes(canvas, (gts - corner) * scale, [IGNORED_COLOR] * len(gts), 1)
    for box, color in ((gt, TP_COLOR), (det, FP_COLOR)):
        if box is not None:
            canvas = draw_boxes(canvas, (box - corner)[None] * scale, [color], 3)
    return _to_data_uri(canvas)


def _to_data_uri(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=85)
    return data_uri(file.getvalue(), 'image/jpeg')
