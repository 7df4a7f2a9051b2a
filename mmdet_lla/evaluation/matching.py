"""Greedy matching of detections and gts, for all images at once.

Benchmarks match greedily: in order of descending score, each detection takes the free gt with the
largest IoU. This is a serial dictatorship. Its result is the only stable matching if detections
prefer by IoU and gts by score, so deferred acceptance (Gale and Shapley, 1962) finds it too.
Deferred acceptance works in rounds over all detections of all images, which NumPy does quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..utils.boxes import box_area
from .annotations import CrowdAnnotation, CrowdDetections
from .overlaps import (
    compute_pair_ious,
    concat_arrays,
    concat_boxes,
    find_overlapping_pairs,
    max_ioa,
    stack_image_sizes,
)

#: Labels of detections: true positive, false positive, inside an ignore region.
TP, FP, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class CrowdPairs:
    """Detections and gts of all images, with the pairs that may be matched.

    Detections are numbered image by image in the order given, and so are gts. Ignore regions are
    no gts and have no number.

    Attributes:
        img_ids (list): IDs of the images, length P.
        det_image (np.ndarray): Image of each detection, shape (D, ).
        det_score (np.ndarray): Score of each detection, float64, shape (D, ).
        det_ignore_ioa (np.ndarray): Largest fraction of the detection inside one ignore region,
            float32, shape (D, ).
        gt_image (np.ndarray): Image of each gt, shape (G, ).
        gt_ignore_ioa (np.ndarray): Largest fraction of the gt inside one ignore region, float32,
            shape (G, ).
        gt_index (np.ndarray): Index of each gt in the annotation of its image, shape (G, ).
        pair_det (np.ndarray): Detection of each pair, ascending, shape (E, ).
        pair_gt (np.ndarray): Gt of each pair, ascending per detection, shape (E, ).
        pair_iou (np.ndarray): IoU of each pair, at least ``min_iou``, float32, shape (E, ).
        min_iou (float): Pairs with a lower IoU are not included.
    """

    img_ids: list
    det_image: np.ndarray
    det_score: np.ndarray
    det_ignore_ioa: np.ndarray
    gt_image: np.ndarray
    gt_ignore_ioa: np.ndarray
    gt_index: np.ndarray
    pair_det: np.ndarray
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    min_iou: float

    @property
    def num_images(self) -> int:
        return len(self.img_ids)

    @cached_property
    def by_score(self) -> np.ndarray:
        """Detections by descending score, equal ones in the order given, shape (D, )."""
        return np.argsort(-self.det_score, kind='stable')

    @cached_property
    def by_preference(self) -> np.ndarray:
        """Pairs by detection, then descending IoU, then gt; shape (E, ).

        The bits of a non-negative float32 ascend with its value and stay below 2^30 for values
        below 2, so detection and IoU fit into one integer. Pairs are almost sorted already, and
        sorting by one key is then many times faster than ``np.lexsort``.
        """
        return np.argsort((self.pair_det << 30) - self.pair_iou.view(np.int32), kind='stable')

    def count_per_image(self, images: np.ndarray) -> np.ndarray:
        """Count how often each image occurs, shape (P, )."""
        return np.bincount(images, minlength=self.num_images)

    def check_iou_thr(self, iou_thr: float) -> np.float32:
        """Return the threshold in float32.

        Raises:
            ValueError: Pairs below the threshold were not included.
        """
        if iou_thr < self.min_iou:
            raise ValueError(
                f'iou_thr is {iou_thr}, but pairs below {self.min_iou} were not included'
            )
        return np.float32(iou_thr)


def collect_pairs(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    min_iou: float = 0.5,
) -> CrowdPairs:
    """Clip boxes to their images and compute the overlaps that can matter.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each image.
        detections (Sequence[CrowdDetections]): Detections of the same images in the same order.
        min_iou (float): Least IoU of a pair that is included. Defaults to 0.5.

    Raises:
        ValueError: Annotations and detections are not of the same images in the same order.

    Example:
        >>> gts = [CrowdAnnotation.create('a', [[0, 0, 10, 20]])]
        >>> dets = [CrowdDetections.create('a', [[0, 0, 10, 16]], [0.9], 100, 100)]
        >>> collect_pairs(gts, dets).pair_iou.round(2).tolist()
        [0.800000011920929]
    """
    if len(annotations) != len(detections):
        raise ValueError(
            f'{len(annotations)} annotations but {len(detections)} detections, '
            'expected one of each for each image'
        )
    for annotation, detection in zip(annotations, detections, strict=True):
        if annotation.img_id != detection.img_id:
            raise ValueError(
                f'annotation of image {annotation.img_id!r} is paired with detections of '
                f'image {detection.img_id!r}'
            )
    sizes = stack_image_sizes(detections)
    dets, det_starts = concat_boxes([one.boxes for one in detections], sizes)
    gts, gt_starts = concat_boxes([one.gt_bboxes for one in annotations], sizes)
    regions, region_starts = concat_boxes([one.boxes[one.ignored] for one in annotations], sizes)

    det_ignore_ioa = np.zeros(len(dets), dtype=np.float32)
    gt_ignore_ioa = np.zeros(len(gts), dtype=np.float32)
    for i in np.flatnonzero(np.diff(region_starts)):
        covers = regions[region_starts[i] : region_starts[i + 1]]
        for boxes, starts, ioa in (
            (dets, det_starts, det_ignore_ioa),
            (gts, gt_starts, gt_ignore_ioa),
        ):
            part = slice(starts[i], starts[i + 1])
            ioa[part] = max_ioa(boxes[part], covers)

    pair_det, pair_gt, overlaps = find_overlapping_pairs(dets, det_starts, gts, gt_starts, min_iou)
    pair_iou = compute_pair_ious(box_area(dets)[pair_det], box_area(gts)[pair_gt], overlaps)
    keep = pair_iou >= np.float32(min_iou)
    images = np.arange(len(detections))
    return CrowdPairs(
        img_ids=[detection.img_id for detection in detections],
        det_image=np.repeat(images, np.diff(det_starts)),
        det_score=concat_arrays([detection.scores for detection in detections], np.float64),
        det_ignore_ioa=det_ignore_ioa,
        gt_image=np.repeat(images, np.diff(gt_starts)),
        gt_ignore_ioa=gt_ignore_ioa,
        gt_index=concat_arrays([np.flatnonzero(~one.ignored) for one in annotations], np.int64),
        pair_det=pair_det[keep],
        pair_gt=pair_gt[keep],
        pair_iou=pair_iou[keep],
        min_iou=min_iou,
    )


def match_greedily(
    pair_det: np.ndarray, pair_gt: np.ndarray, det_by_score: np.ndarray, num_gts: int
) -> np.ndarray:
    """Give detections, best score first, the free gt that each prefers, by deferred acceptance.

    Args:
        pair_det (np.ndarray): Detection of each pair, ascending, shape (E, ).
        pair_gt (np.ndarray): Gt of each pair, most preferred first per detection, shape (E, ).
        det_by_score (np.ndarray): Detections in the order in which they choose, shape (D, ).
        num_gts (int): Number of gts G.

    Returns:
        np.ndarray: Gt of each detection, -1 for none, shape (D, ).

    Example:
        >>> pair_det, pair_gt = np.array([0, 1, 1]), np.array([0, 0, 1])
        >>> match_greedily(pair_det, pair_gt, np.array([0, 1]), 2).tolist()
        [0, 1]
    """
    num_dets = len(det_by_score)
    rank = np.empty_like(det_by_score)
    rank[det_by_score] = np.arange(num_dets)
    ends = np.cumsum(np.bincount(pair_det, minlength=num_dets))
    proposal = np.concatenate([[0], ends[:-1]]) if num_dets else ends  # next pair of each detection
    best_rank = np.full(num_gts, num_dets, dtype=np.int64)
    holder = np.full(num_gts, -1, dtype=np.int64)
    proposing = np.flatnonzero(proposal < ends)
    while proposing.size:
        gts, ranks = pair_gt[proposal[proposing]], rank[proposing]
        np.minimum.at(best_rank, gts, ranks)
        accepted = best_rank[gts] == ranks
        displaced = holder[gts[accepted]]
        holder[gts[accepted]] = proposing[accepted]
        proposing = np.concatenate([proposing[~accepted], displaced[displaced >= 0]])
        proposal[proposing] += 1
        proposing = proposing[proposal[proposing] < ends[proposing]]
    matched = np.full(num_dets, -1, dtype=np.int64)
    held = np.flatnonzero(holder >= 0)
    matched[holder[held]] = held
    return matched


@dataclass(frozen=True)
class CrowdMatches:
    """Detections of all images by descending score, each labelled and matched.

    Attributes:
        score (np.ndarray): Descending, float64, shape (D, ).
        label (np.ndarray): ``TP``, ``FP`` or ``IGNORED`` (inside an ignore region, not counted),
            int8, shape (D, ).
        image (np.ndarray): Image of each detection, shape (D, ).
        det (np.ndarray): Number of the detection in ``CrowdPairs``, shape (D, ).
        gt (np.ndarray): Matched gt, -1 for none, shape (D, ).
        gt_image (np.ndarray): Image of each gt, shape (G, ).
        num_images (int): Number of images.
        iou_thr (float): A true positive exceeds this IoU.
    """

    score: np.ndarray
    label: np.ndarray
    image: np.ndarray
    det: np.ndarray
    gt: np.ndarray
    gt_image: np.ndarray
    num_images: int
    iou_thr: float

    def label_by_det(self) -> np.ndarray:
        """Labels in the order of ``CrowdPairs``, int8, shape (D, )."""
        label = np.empty(len(self.det), np.int8)
        label[self.det] = self.label
        return label


def match_crowd(pairs: CrowdPairs, iou_thr: float = 0.5) -> CrowdMatches:
    """Match detections and gts by the rules of Caltech and CrowdHuman.

    By descending score, equal ones in the order given, each detection takes the free gt with the
    largest IoU above the threshold, of equal ones the first. A detection without gt is ignored if
    more than the threshold of its own area lies in an ignore region, else it is a false positive.
    One ignore region may excuse any number of detections.

    Args:
        pairs (CrowdPairs): Result of :func:`collect_pairs`.
        iou_thr (float): At least ``pairs.min_iou``. Defaults to 0.5.

    Raises:
        ValueError: Pairs below the threshold were not included.

    Example:
        >>> gts = [CrowdAnnotation.create('a', [[0, 0, 10, 20]])]
        >>> boxes = [[0, 0, 10, 20], [0, 0, 10, 19]]
        >>> dets = [CrowdDetections.create('a', boxes, [0.9, 0.8], 100, 100)]
        >>> match_crowd(collect_pairs(gts, dets)).label.tolist()  # a TP and a duplicate
        [1, 0]
    """
    threshold = pairs.check_iou_thr(iou_thr)
    candidates = pairs.by_preference[pairs.pair_iou[pairs.by_preference] > threshold]
    order = pairs.by_score
    matched = match_greedily(
        pairs.pair_det[candidates], pairs.pair_gt[candidates], order, len(pairs.gt_image)
    )
    label = np.where(pairs.det_ignore_ioa > threshold, IGNORED, FP).astype(np.int8)
    label[matched >= 0] = TP
    return CrowdMatches(
        score=pairs.det_score[order],
        label=label[order],
        image=pairs.det_image[order],
        det=order,
        gt=matched[order],
        gt_image=pairs.gt_image,
        num_images=pairs.num_images,
        iou_thr=iou_thr,
    )
