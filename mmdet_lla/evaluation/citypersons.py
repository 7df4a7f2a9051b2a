"""CityPersons' evaluation: log-average miss rate of groups of people by height and visible share.

The rules are those of the benchmark's script (``eval_MR_multisetup.py`` in
https://github.com/cvgroup-njust/CityPersons, Zhang et al., CityPersons, CVPR 2017), which follows
the evaluation of Caltech (Dollar et al., Pedestrian Detection: An Evaluation of the State of the
Art, PAMI 2012):

- People outside the group's range of height or of visible share become ignore regions.
- Detections are left out when their height is not in ``[low / 1.25, high * 1.25)``, so that a box
  a little too small or too large for its person is neither lost nor a false positive.
- Detections by falling score take the free person of largest IoU, at least 0.5. One that gets none
  and lies in an ignore region by at least half of its own area counts nowhere.
- The miss rate is read at nine numbers of false positives per picture, from 0.01 to 1, where the
  curve last was at or below the number; their geometric mean is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.converters.citypersons import open_citypersons, read_annotations
from ..utils.boxes import box_area
from .annotations import CrowdAnnotation, CrowdDetections, annotation_of
from .curves import MR_REFERENCES, Curve, geometric_mean
from .matching import deferred_acceptance
from .overlaps import iou_of_pairs, lay_out, pairs_above

IOU_THR = 0.5
HEIGHT_MARGIN = 1.25
MAX_DETECTIONS = 1000


@dataclass(frozen=True)
class Setup:
    """A group of people, both ranges including their ends.

    Attributes:
        height (tuple[float, float]): Range of heights in pixels of the original picture.
        visible (tuple[float, float]): Range of visible shares.
    """

    height: tuple[float, float]
    visible: tuple[float, float]


# 'reasonable', 'small', 'heavy' and 'all' are the script's. 'bare' and 'partial' came later (Wang
# et al., Repulsion Loss, and Liu et al., ALFNet, both 2018).
SETUPS = {
    'reasonable': Setup((50, np.inf), (0.65, np.inf)),
    'small': Setup((50, 75), (0.65, np.inf)),
    'heavy': Setup((50, np.inf), (0.2, 0.65)),
    'partial': Setup((50, np.inf), (0.65, 0.9)),
    'bare': Setup((50, np.inf), (0.9, np.inf)),
    'all': Setup((20, np.inf), (0.2, np.inf)),
}


@dataclass(frozen=True)
class SetupResult:
    """What came of one group.

    Attributes:
        miss_rate (float): Log-average miss rate, a fraction of 1; 1 where nobody is in the group.
        curve (Curve): Counts over falling score.
    """

    miss_rate: float
    curve: Curve


@dataclass(frozen=True)
class _Pairs:
    """All pictures laid end to end, with the pairs that may match in any group.

    Other than in ``CrowdPairs``, ignore regions are numbered too, for a person of one group is an
    ignore region of another. Pairs are sorted by detection, each detection's favourite first.
    """

    det_score: np.ndarray  # (D, )
    det_height: np.ndarray
    det_by_score: np.ndarray  # detections by falling score
    gt_height: np.ndarray  # (G, )
    gt_visible: np.ndarray
    gt_ignored: np.ndarray
    pair_det: np.ndarray  # (E, )
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    pair_coverage: np.ndarray  # share of the detection that is inside
    num_pictures: int


def evaluate_citypersons(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    setups: Mapping[str, Setup] = SETUPS,
    low_fppi: str = 'none',
) -> dict[str, SetupResult]:
    """Log-average miss rate of each group.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture, with the
            visible share of everybody who is not ignored.
        detections (Sequence[CrowdDetections]): Detections of the same pictures in the same order,
            which is also the order of detections of equal score. Only the 1000 best of a picture
            count.
        setups (Mapping[str, Setup]): Groups by name. Defaults to the benchmark's.
        low_fppi (str): What the recall is at a number of false positives per picture that lies
            below the whole curve: 'none', 0, as in Caltech's MATLAB code, or 'last', that of the
            last detection, as in the benchmark's Python script. They differ only on fewer than 100
            pictures, where the first detection may already be above 0.01. Defaults to 'none'.

    Returns:
        dict[str, SetupResult]: By the names of ``setups``.

    Raises:
        ValueError: The pictures do not agree, a visible share is missing, or ``low_fppi`` is none
            of the two.
    """
    if low_fppi not in ('none', 'last'):
        raise ValueError(f"low_fppi is {low_fppi!r}, expected 'none' or 'last'")
    pairs = _collect(annotations, detections)
    results = {}
    for name, setup in setups.items():
        curve = _match(pairs, setup)
        results[name] = SetupResult(log_average_miss_rate_below(curve, low_fppi), curve)
    return results


def _collect(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
) -> _Pairs:
    if [a.img_id for a in annotations] != [d.img_id for d in detections]:
        raise ValueError('annotations and detections are not of the same pictures in one order')
    for annotation in annotations:
        unknown = np.flatnonzero(~annotation.ignored & np.isnan(annotation.visible))
        if len(unknown):
            raise ValueError(
                f'ground truth of picture {annotation.img_id!r}: the visible share of box '
                f'{unknown[0]} is unknown, expected a number'
            )
    best = [np.argsort(-d.scores, kind='stable')[:MAX_DETECTIONS] for d in detections]
    dets, det_at = lay_out([d.boxes[keep] for d, keep in zip(detections, best, strict=True)])
    gts, gt_at = lay_out([annotation.boxes for annotation in annotations])
    pair_det, pair_gt, shared = pairs_above(dets, det_at, gts, gt_at, IOU_THR)
    det_areas = box_area(dets)[pair_det]
    pair_iou = iou_of_pairs(det_areas, box_area(gts)[pair_gt], shared)
    # of equal overlaps the script takes the later one
    order = np.lexsort((-pair_gt, -pair_iou, pair_det))
    det_score = np.concatenate(
        [np.zeros(0), *(d.scores[keep] for d, keep in zip(detections, best, strict=True))]
    )
    return _Pairs(
        det_score=det_score,
        det_height=dets[:, 3] - dets[:, 1],
        det_by_score=np.argsort(-det_score, kind='stable'),
        gt_height=gts[:, 3] - gts[:, 1],
        gt_visible=np.concatenate([np.zeros(0), *(a.visible for a in annotations)]),
        gt_ignored=np.concatenate([np.zeros(0, bool), *(a.ignored for a in annotations)]),
        pair_det=pair_det[order],
        pair_gt=pair_gt[order],
        pair_iou=pair_iou[order],
        pair_coverage=(shared / det_areas)[order],
        num_pictures=len(annotations),
    )


def _match(pairs: _Pairs, setup: Setup) -> Curve:
    """Match one group's people and count."""
    (low, high), (least, most) = setup.height, setup.visible
    with np.errstate(invalid='ignore'):  # ignore regions may have no visible share
        ignored = (
            pairs.gt_ignored
            | (pairs.gt_height < low)
            | (pairs.gt_height > high)
            | (pairs.gt_visible < least)
            | (pairs.gt_visible > most)
        )
    kept = (pairs.det_height >= low / HEIGHT_MARGIN) & (pairs.det_height < high * HEIGHT_MARGIN)
    usable = kept[pairs.pair_det]

    wanted = usable & ~ignored[pairs.pair_gt] & (pairs.pair_iou >= IOU_THR)
    order = pairs.det_by_score
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    matched = deferred_acceptance(pairs.pair_det[wanted], pairs.pair_gt[wanted], rank, len(ignored))

    hit = matched >= 0
    dropped = usable & ignored[pairs.pair_gt] & (pairs.pair_coverage >= IOU_THR)
    kept[pairs.pair_det[dropped]] = False
    kept |= hit
    order = order[kept[order]]
    hits = np.cumsum(hit[order], dtype=np.float64)
    return Curve(
        score=pairs.det_score[order],
        hits=hits,
        misses=np.arange(1, len(order) + 1) - hits,
        num_gts=int((~ignored).sum()),
        num_pictures=pairs.num_pictures,
    )


def log_average_miss_rate_below(curve: Curve, low_fppi: str = 'none') -> float:
    """Miss rate where the curve last was at or below each reference; geometric mean.

    Args:
        curve (Curve): Counts over falling score.
        low_fppi (str): See ``evaluate_citypersons``. Defaults to 'none'.

    Returns:
        float: 0 to 1; 1 where there is nothing to find or nothing detected.
    """
    if not len(curve.score) or not curve.num_gts:
        return 1.0
    places = np.searchsorted(curve.fppi, MR_REFERENCES['CALTECH_-2'], side='right') - 1
    # place -1 is the last detection, as in the Python script
    missed = curve.miss_rate[places]
    if low_fppi == 'none':
        missed[places < 0] = 1.0
    return geometric_mean(missed)


def load_citypersons(ann_file: str, backend_args: dict | None = None) -> list[CrowdAnnotation]:
    """Read CityPersons' ground truth, in the COCO-like JSON of the benchmark's script or as MAT.

    Each annotation of the JSON has ``image_id``, ``bbox`` (x, y, width, height), ``vis_ratio`` (or
    ``vis_bbox`` from which to find it), and perhaps ``ignore``, ``iscrowd`` and ``category_id``.
    It is an ignore region when ``ignore`` or ``iscrowd`` is set or the category is not 1. Of a MAT
    file see ``mmdet_lla.datasets.converters.citypersons``; its images are numbered from 1.

    Args:
        ann_file (str): A ``.json`` or ``.mat`` file.
        backend_args (dict, optional): mmengine's file backend.

    Returns:
        list[CrowdAnnotation]: One for each of the file's images, by rising ID.

    Raises:
        ValueError: A field is missing or not what it must be.
    """
    pictures = read_annotations(open_citypersons(ann_file, backend_args), ann_file)
    annotations = []
    for one in pictures:
        instances = [annotation.to_instance() for annotation in one.annotations]
        for instance in instances:
            instance['bbox'] = instance['fbox']
        annotations.append(annotation_of(one.id, instances))
    return sorted(annotations, key=lambda one: (isinstance(one.img_id, str), one.img_id))
