"""Which detection found which person, for all pictures at once.

Benchmarks hand out boxes greedily: detections by falling score, each takes the free box it overlaps
most. That is a serial dictatorship, hence the only stable matching when detections prefer by
overlap and every box prefers by score, hence what deferred acceptance (Gale and Shapley, 1962)
finds. Deferred acceptance runs in rounds over all detections of all pictures, which numpy does
quickly; the loop over detections and boxes does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .annotations import CrowdAnnotation, CrowdDetections, clip_boxes
from .overlaps import iou_matrix, max_coverage

HIT, MISS, DROPPED = 1, 0, -1


@dataclass(frozen=True)
class CrowdPairs:
    """All pictures laid end to end, with the pairs of boxes that may be matched.

    Detections are numbered picture by picture in the order given, and so are people (ignore
    regions are not people and have no number).

    Attributes:
        img_ids (list): IDs of the pictures, length P.
        det_picture (np.ndarray): Picture of each detection, shape (D, ).
        det_score (np.ndarray): Score of each detection, float64, shape (D, ).
        det_ignored (np.ndarray): Largest share of the detection inside one ignore region, float32,
            shape (D, ).
        gt_picture (np.ndarray): Picture of each person, shape (G, ).
        gt_ignored (np.ndarray): Largest share of the person's box inside one ignore region,
            float32, shape (G, ).
        gt_index (np.ndarray): The person's place in its picture's annotation, shape (G, ).
        pair_det (np.ndarray): Detection of each pair, rising, shape (E, ).
        pair_gt (np.ndarray): Person of each pair, rising for one detection, shape (E, ).
        pair_iou (np.ndarray): IoU of each pair, at least ``min_iou``, float32, shape (E, ).
        min_iou (float): Pairs below it were left out.
    """

    img_ids: list
    det_picture: np.ndarray
    det_score: np.ndarray
    det_ignored: np.ndarray
    gt_picture: np.ndarray
    gt_ignored: np.ndarray
    gt_index: np.ndarray
    pair_det: np.ndarray
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    min_iou: float

    @property
    def num_pictures(self) -> int:
        return len(self.img_ids)


def collect_pairs(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    min_iou: float = 0.5,
) -> CrowdPairs:
    """Clip boxes to their pictures and measure the overlaps that matter.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture.
        detections (Sequence[CrowdDetections]): Detections of the same pictures in the same order.
        min_iou (float): Least IoU of a pair worth keeping. Defaults to 0.5.

    Raises:
        ValueError: The two do not speak of the same pictures in the same order.
    """
    if len(annotations) != len(detections):
        raise ValueError(
            f'{len(annotations)} annotations but {len(detections)} detections, '
            'expected one of each for each picture'
        )
    floor = np.float32(min_iou)
    det_ignored, gt_ignored, gt_index = [], [], []
    pair_det, pair_gt, pair_iou = [], [], []
    det_start = gt_start = 0
    for annotation, detection in zip(annotations, detections):
        if annotation.img_id != detection.img_id:
            raise ValueError(
                f'annotation of picture {annotation.img_id!r} stands beside detections of '
                f'picture {detection.img_id!r}'
            )
        size = detection.height, detection.width
        det_boxes = clip_boxes(detection.boxes, *size)
        gt_boxes = clip_boxes(annotation.boxes, *size)
        people = np.flatnonzero(~annotation.ignored)
        gt_boxes, regions = gt_boxes[people], gt_boxes[annotation.ignored]
        det_ignored.append(max_coverage(det_boxes, regions))
        gt_ignored.append(max_coverage(gt_boxes, regions))
        gt_index.append(people)
        overlaps = iou_matrix(det_boxes, gt_boxes)
        # two boxes that do not touch are no pair, whatever the threshold
        flat = np.flatnonzero((overlaps >= floor) & (overlaps > 0))
        det, gt = np.divmod(flat, max(len(gt_boxes), 1))
        pair_det.append(det + det_start)
        pair_gt.append(gt + gt_start)
        pair_iou.append(overlaps.ravel()[flat])
        det_start += len(det_boxes)
        gt_start += len(gt_boxes)
    pictures = np.arange(len(detections))
    return CrowdPairs(
        img_ids=[detection.img_id for detection in detections],
        det_picture=np.repeat(pictures, [len(detection.boxes) for detection in detections]),
        det_score=_join([detection.scores for detection in detections], np.float64),
        det_ignored=_join(det_ignored, np.float32),
        gt_picture=np.repeat(pictures, [len(people) for people in gt_index]),
        gt_ignored=_join(gt_ignored, np.float32),
        gt_index=_join(gt_index, np.int64),
        pair_det=_join(pair_det, np.int64),
        pair_gt=_join(pair_gt, np.int64),
        pair_iou=_join(pair_iou, np.float32),
        min_iou=min_iou,
    )


def _join(parts: list, dtype) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)


def deferred_acceptance(
    pair_det: np.ndarray, pair_gt: np.ndarray, det_rank: np.ndarray, num_gts: int
) -> np.ndarray:
    """Serve detections in order of rank, each with the free box it likes best.

    Args:
        pair_det (np.ndarray): Detection of each pair, rising, shape (E, ).
        pair_gt (np.ndarray): Box of each pair, the detection's favourite first, shape (E, ).
        det_rank (np.ndarray): When a detection is served, all different, shape (D, ).
        num_gts (int): Number of boxes G.

    Returns:
        np.ndarray: Box that each detection gets, -1 for none, shape (D, ).
    """
    num_dets = len(det_rank)
    ends = np.cumsum(np.bincount(pair_det, minlength=num_dets))
    turn = np.concatenate([[0], ends[:-1]]) if num_dets else ends
    best_rank = np.full(num_gts, num_dets, dtype=np.int64)
    holder = np.full(num_gts, -1, dtype=np.int64)
    asking = np.flatnonzero(turn < ends)
    while asking.size:
        wanted, rank = pair_gt[turn[asking]], det_rank[asking]
        np.minimum.at(best_rank, wanted, rank)
        wins = best_rank[wanted] == rank
        displaced = holder[wanted[wins]]
        holder[wanted[wins]] = asking[wins]
        asking = np.concatenate([asking[~wins], displaced[displaced >= 0]])
        turn[asking] += 1
        asking = asking[turn[asking] < ends[asking]]
    matched = np.full(num_dets, -1, dtype=np.int64)
    held = np.flatnonzero(holder >= 0)
    matched[holder[held]] = held
    return matched


@dataclass(frozen=True)
class CrowdMatches:
    """Detections of all pictures by falling score, and what each of them found.

    Attributes:
        score (np.ndarray): Falling, float64, shape (D, ).
        label (np.ndarray): ``HIT``, ``MISS`` (false positive) or ``DROPPED`` (inside an ignore
            region, counts nowhere), int8, shape (D, ).
        picture (np.ndarray): Picture of each detection, shape (D, ).
        det (np.ndarray): Number of the detection in ``CrowdPairs``, shape (D, ).
        gt (np.ndarray): Person found, -1 for none, shape (D, ).
        gt_picture (np.ndarray): Picture of each person, shape (G, ).
        num_pictures (int): Number of pictures.
        iou_thr (float): The IoU that a hit exceeds.
    """

    score: np.ndarray
    label: np.ndarray
    picture: np.ndarray
    det: np.ndarray
    gt: np.ndarray
    gt_picture: np.ndarray
    num_pictures: int
    iou_thr: float


def match_crowd(pairs: CrowdPairs, iou_thr: float = 0.5) -> CrowdMatches:
    """Match by the rules of Caltech and CrowdHuman.

    Detections by falling score, equal ones in the order given, each take the free person with the
    largest IoU above the threshold, of equal ones the first. One that gets none and lies in an
    ignore region by more than the threshold (intersection over the detection's area) is dropped.
    An ignore region drops any number of detections.

    Args:
        pairs (CrowdPairs): What ``collect_pairs`` gives.
        iou_thr (float): At least ``pairs.min_iou``. Defaults to 0.5.

    Raises:
        ValueError: The threshold is below the pairs that were kept.
    """
    if iou_thr < pairs.min_iou:
        raise ValueError(f'iou_thr is {iou_thr}, but pairs below {pairs.min_iou} were left out')
    threshold = np.float32(iou_thr)
    keep = np.flatnonzero(pairs.pair_iou > threshold)
    det, gt = pairs.pair_det[keep], pairs.pair_gt[keep]
    favourite_first = np.lexsort((-pairs.pair_iou[keep], det))
    order = np.argsort(-pairs.det_score, kind='stable')
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    matched = deferred_acceptance(
        det[favourite_first], gt[favourite_first], rank, len(pairs.gt_picture)
    )
    label = np.where(pairs.det_ignored > threshold, DROPPED, MISS).astype(np.int8)
    label[matched >= 0] = HIT
    return CrowdMatches(
        score=pairs.det_score[order],
        label=label[order],
        picture=pairs.det_picture[order],
        det=order,
        gt=matched[order],
        gt_picture=pairs.gt_picture,
        num_pictures=pairs.num_pictures,
        iou_thr=iou_thr,
    )
