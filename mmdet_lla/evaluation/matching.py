"""Which detection found which person, for all pictures at once.

Benchmarks hand out boxes greedily: detections by falling score, each takes the free box it overlaps
most. That is a serial dictatorship, hence the only stable matching when detections prefer by
overlap and every box prefers by score, hence what deferred acceptance (Gale and Shapley, 1962)
finds. Deferred acceptance runs in rounds over all detections of all pictures, which numpy does
quickly; the loop over detections and boxes does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..utils.boxes import box_area
from .annotations import CrowdAnnotation, CrowdDetections, clip_boxes
from .overlaps import iou_of_pairs, lay_out, max_coverage, pairs_above

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

    @cached_property
    def by_score(self) -> np.ndarray:
        """Detections by falling score, equal ones in the order given, shape (D, )."""
        return np.argsort(-self.det_score, kind='stable')

    @cached_property
    def by_preference(self) -> np.ndarray:
        """Pairs by detection, the largest IoU first, of equal ones the first person; shape (E, ).

        The bits of a float32 that is not negative rise with its value and are below 2^30 below 2,
        so both keys make one integer; pairs come nearly in that order, and sorting by one key is
        then many times faster than ``np.lexsort``.
        """
        return np.argsort((self.pair_det << 30) - self.pair_iou.view(np.int32), kind='stable')


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
    for annotation, detection in zip(annotations, detections, strict=True):
        if annotation.img_id != detection.img_id:
            raise ValueError(
                f'annotation of picture {annotation.img_id!r} stands beside detections of '
                f'picture {detection.img_id!r}'
            )
    size = np.array([(d.width, d.height) for d in detections]).reshape(-1, 2)

    def clipped(parts: list) -> tuple[np.ndarray, np.ndarray]:
        boxes, at = lay_out(parts)
        return clip_boxes(boxes, np.repeat(size, np.diff(at), axis=0)), at

    people = [np.flatnonzero(~annotation.ignored) for annotation in annotations]
    dets, det_at = clipped([detection.boxes for detection in detections])
    gts, gt_at = clipped([a.boxes[keep] for a, keep in zip(annotations, people, strict=True)])
    regions, region_at = clipped([a.boxes[a.ignored] for a in annotations])

    det_ignored = np.zeros(len(dets), dtype=np.float32)
    gt_ignored = np.zeros(len(gts), dtype=np.float32)
    for i in np.flatnonzero(np.diff(region_at)):
        covers = regions[region_at[i] : region_at[i + 1]]
        for boxes, at, covered in ((dets, det_at, det_ignored), (gts, gt_at, gt_ignored)):
            part = slice(at[i], at[i + 1])
            covered[part] = max_coverage(boxes[part], covers)

    pair_det, pair_gt, shared = pairs_above(dets, det_at, gts, gt_at, min_iou)
    pair_iou = iou_of_pairs(box_area(dets)[pair_det], box_area(gts)[pair_gt], shared)
    keep = pair_iou >= np.float32(min_iou)
    pictures = np.arange(len(detections))
    return CrowdPairs(
        img_ids=[detection.img_id for detection in detections],
        det_picture=np.repeat(pictures, np.diff(det_at)),
        det_score=_join([detection.scores for detection in detections], np.float64),
        det_ignored=det_ignored,
        gt_picture=np.repeat(pictures, np.diff(gt_at)),
        gt_ignored=gt_ignored,
        gt_index=_join(people, np.int64),
        pair_det=pair_det[keep],
        pair_gt=pair_gt[keep],
        pair_iou=pair_iou[keep],
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
    wanted = pairs.by_preference[pairs.pair_iou[pairs.by_preference] > threshold]
    order = pairs.by_score
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    matched = deferred_acceptance(
        pairs.pair_det[wanted], pairs.pair_gt[wanted], rank, len(pairs.gt_picture)
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
