"""CityPersons' evaluation: log-average miss rate of gts grouped by height and visible fraction.

The rules are those of the benchmark's script (``eval_MR_multisetup.py`` in
https://github.com/cvgroup-njust/CityPersons, Zhang et al., CityPersons, CVPR 2017), which follows
the evaluation of Caltech (Dollar et al., Pedestrian Detection: An Evaluation of the State of the
Art, PAMI 2012):

- Gts outside the group's range of height or visible fraction become ignore regions.
- Detections are excluded if their height is not in ``[low / 1.25, high * 1.25)``, so that a box a
  little too small or too large for its gt is neither lost nor a false positive.
- By descending score, each detection takes the free gt of largest IoU, at least 0.5. A detection
  without gt is ignored if at least half of its own area lies in an ignore region.
- The miss rate is read at nine numbers of false positives per image, from 0.01 to 1, at the last
  detection with at most so many; their geometric mean is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..utils.boxes import box_area
from .annotations import CrowdAnnotation, CrowdDetections, create_annotation
from .curves import Curve, log_average_miss_rate
from .matching import match_greedily
from .overlaps import compute_pair_ious, concat_arrays, concat_boxes, find_overlapping_pairs

IOU_THR = 0.5
HEIGHT_MARGIN = 1.25
MAX_DETECTIONS = 1000
#: ``low_fppi`` of the evaluation -> ``read`` of ``log_average_miss_rate``.
LOW_FPPI = {'none': 'below', 'last': 'below or last'}


@dataclass(frozen=True)
class Setup:
    """A group of gts; both ranges include their ends.

    Attributes:
        height (tuple[float, float]): Range of heights in pixels of the original image.
        visible (tuple[float, float]): Range of visible fractions.
    """

    height: tuple[float, float]
    visible: tuple[float, float]

    def excludes(self, height: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Find gts outside the group; an unknown visible fraction (NaN) is inside any range.

        Args:
            height (np.ndarray): Heights, shape (n, ).
            visible (np.ndarray): Visible fractions, shape (n, ).

        Returns:
            np.ndarray: bool, shape (n, ).

        Example:
            >>> SETUPS['small'].excludes(np.array([60, 90]), np.array([1.0, 1.0])).tolist()
            [False, True]
        """
        with np.errstate(invalid='ignore'):
            return (
                (height < self.height[0])
                | (height > self.height[1])
                | (visible < self.visible[0])
                | (visible > self.visible[1])
            )


# 'reasonable', 'small', 'heavy' and 'all' are from the script. 'bare' and 'partial' came later
# (Wang et al., Repulsion Loss, and Liu et al., ALFNet, both 2018).
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
    """Result of one group.

    Attributes:
        miss_rate (float): Log-average miss rate, a fraction of 1; 1 if the group has no gts.
        curve (Curve): Counts by descending score.
    """

    miss_rate: float
    curve: Curve


@dataclass(frozen=True)
class BoxPairs:
    """Detections and annotated boxes of all images, with the pairs that may match in any group.

    Unlike in ``CrowdPairs``, ignore regions are numbered too, since a gt of one group is an ignore
    region of another. Pairs are sorted by detection, the most preferred box first.
    """

    det_image: np.ndarray  # (D, )
    det_score: np.ndarray
    det_height: np.ndarray
    gt_height: np.ndarray  # (G, )
    gt_visible: np.ndarray
    gt_ignored: np.ndarray
    pair_det: np.ndarray  # (E, )
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    pair_ioa: np.ndarray  # fraction of the detection that is inside
    num_images: int

    @classmethod
    def collect(
        cls,
        annotations: Sequence[CrowdAnnotation],
        dets: np.ndarray,
        det_starts: np.ndarray,
        gts: np.ndarray,
        gt_starts: np.ndarray,
        prefer_last: bool,
        **values: np.ndarray,
    ) -> BoxPairs:
        """Find the pairs with an IoU or IoA of about 0.5 or more.

        Args:
            annotations (Sequence[CrowdAnnotation]): Ground truth of the images.
            dets, det_starts, gts, gt_starts (np.ndarray): From ``concat_boxes``.
            prefer_last (bool): Whether detections prefer the last of boxes with equal IoU.
            values: ``det_score``, ``det_height`` and ``gt_height``.
        """
        ignored = concat_arrays([one.ignored for one in annotations], bool)
        det, gt, overlaps = find_overlapping_pairs(dets, det_starts, gts, gt_starts, IOU_THR)
        det_areas = box_area(dets)[det]
        iou = compute_pair_ious(det_areas, box_area(gts)[gt], overlaps)
        order = np.lexsort((-gt if prefer_last else gt, ignored[gt], -iou, det))
        images = np.arange(len(annotations))
        return cls(
            det_image=np.repeat(images, np.diff(det_starts)),
            gt_visible=concat_arrays([one.visible for one in annotations], np.float64),
            gt_ignored=ignored,
            pair_det=det[order],
            pair_gt=gt[order],
            pair_iou=iou[order],
            pair_ioa=(overlaps / det_areas)[order],
            num_images=len(annotations),
            **values,
        )


def evaluate_citypersons(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    setups: Mapping[str, Setup] = SETUPS,
    low_fppi: str = 'none',
) -> dict[str, SetupResult]:
    """Compute the log-average miss rate of each group.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each image, with the visible
            fraction of every gt that is not ignored.
        detections (Sequence[CrowdDetections]): Detections of the same images in the same order,
            which is also the order of detections of equal score. Only the 1000 best of an image
            count.
        setups (Mapping[str, Setup]): Groups by name. Defaults to the benchmark's.
        low_fppi (str): Recall at a number of false positives per image that lies below the whole
            curve: 'none', 0, as in Caltech's MATLAB code, or 'last', that of the last detection, as
            in the benchmark's Python script. They differ only for fewer than 100 images, where the
            first false positive may already exceed 0.01. Defaults to 'none'.

    Returns:
        dict[str, SetupResult]: By the names of ``setups``.

    Raises:
        ValueError: The images differ, a visible fraction is missing, or ``low_fppi`` is unknown.

    Example:
        >>> gts = [CrowdAnnotation.create(0, [[0, 0, 40, 100]], visible=[1.0])]
        >>> dets = [CrowdDetections.create(0, [[0, 0, 40, 100]], [0.9], 1024, 2048)]
        >>> evaluate_citypersons(gts, dets)['reasonable'].miss_rate
        0.0
    """
    if low_fppi not in LOW_FPPI:
        raise ValueError(f'low_fppi is {low_fppi!r}, expected one of {tuple(LOW_FPPI)}')
    pairs = _collect(annotations, detections)
    det_by_score = np.argsort(-pairs.det_score, kind='stable')
    results = {}
    for name, setup in setups.items():
        curve = _match(pairs, det_by_score, setup)
        miss_rate = log_average_miss_rate(curve, read=LOW_FPPI[low_fppi])
        results[name] = SetupResult(miss_rate, curve)
    return results


def _collect(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
) -> BoxPairs:
    if [a.img_id for a in annotations] != [d.img_id for d in detections]:
        raise ValueError('annotations and detections are not of the same images in the same order')
    for annotation in annotations:
        unknown = np.flatnonzero(~annotation.ignored & np.isnan(annotation.visible))
        if len(unknown):
            raise ValueError(
                f'ground truth of image {annotation.img_id!r}: the visible fraction of box '
                f'{unknown[0]} is unknown, expected a number'
            )
    best = [np.argsort(-d.scores, kind='stable')[:MAX_DETECTIONS] for d in detections]
    dets, det_starts = concat_boxes([d.boxes[i] for d, i in zip(detections, best, strict=True)])
    gts, gt_starts = concat_boxes([annotation.boxes for annotation in annotations])
    scores = [d.scores[i] for d, i in zip(detections, best, strict=True)]
    return BoxPairs.collect(
        annotations,
        dets,
        det_starts,
        gts,
        gt_starts,
        prefer_last=True,
        det_score=concat_arrays(scores, np.float64),
        det_height=dets[:, 3] - dets[:, 1],
        gt_height=gts[:, 3] - gts[:, 1],
    )


def _match(pairs: BoxPairs, det_by_score: np.ndarray, setup: Setup) -> Curve:
    """Match the gts of one group and count."""
    low, high = setup.height
    ignored = pairs.gt_ignored | setup.excludes(pairs.gt_height, pairs.gt_visible)
    kept = (pairs.det_height >= low / HEIGHT_MARGIN) & (pairs.det_height < high * HEIGHT_MARGIN)
    usable = kept[pairs.pair_det]
    candidates = usable & ~ignored[pairs.pair_gt] & (pairs.pair_iou >= IOU_THR)
    matched = match_greedily(
        pairs.pair_det[candidates], pairs.pair_gt[candidates], det_by_score, len(ignored)
    )
    is_tp = matched >= 0
    excused = usable & ignored[pairs.pair_gt] & (pairs.pair_ioa >= IOU_THR)
    kept[pairs.pair_det[excused]] = False
    kept |= is_tp
    order = det_by_score[kept[det_by_score]]
    num_gts = int((~ignored).sum())
    return Curve.from_labels(pairs.det_score[order], is_tp[order], num_gts, pairs.num_images)


def load_citypersons(ann_file: str, backend_args: dict | None = None) -> list[CrowdAnnotation]:
    """Read CityPersons' ground truth, in the COCO-like JSON of the benchmark's script or as MAT.

    Each annotation of the JSON has ``image_id``, ``bbox`` (x, y, width, height), ``vis_ratio`` (or
    ``vis_bbox``, from which it is computed) and optionally ``ignore``, ``iscrowd`` and
    ``category_id``. It is an ignore region if ``ignore`` or ``iscrowd`` is set or the category is
    not 1. For MAT files see ``mmdet_lla.datasets.converters.citypersons``; images are numbered
    from 1.

    Args:
        ann_file (str): A ``.json`` or ``.mat`` file.
        backend_args (dict, optional): mmengine's file backend.

    Returns:
        list[CrowdAnnotation]: One for each image of the file, by ascending ID.

    Raises:
        ValueError: A field is missing or invalid.
    """
    from ..datasets.converters.citypersons import open_citypersons, read_annotations

    images = read_annotations(open_citypersons(ann_file, backend_args), ann_file)
    annotations = []
    for one in images:
        instances = [annotation.to_instance() for annotation in one.annotations]
        for instance in instances:
            instance['bbox'] = instance['fbox']
        annotations.append(create_annotation(one.id, instances))
    return sorted(annotations, key=lambda one: (isinstance(one.img_id, str), one.img_id))
