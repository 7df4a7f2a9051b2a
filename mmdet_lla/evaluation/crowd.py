"""Evaluation of a crowd detector in one call, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from .annotations import CrowdAnnotation, CrowdDetections
from .curves import (
    MR_REFERENCES,
    Curve,
    average_precision,
    compute_curve,
    log_average_miss_rate,
    max_recall,
)
from .jaccard import JaccardResult, jaccard_index
from .matching import FP, TP, CrowdMatches, collect_pairs, match_crowd
from .overlaps import concat_arrays

#: Edges of the groups of each attribute of gts; the last group includes its upper edge.
ATTRIBUTE_EDGES = {
    # visible fraction: the cuts of CityPersons (heavy 0.2 to 0.65, partial to 0.9, bare above)
    'visible': (0.0, 0.2, 0.65, 0.9, 1.0),
    # largest IoU with another gt; above 0.5 the default NMS of a detector merges the two
    'crowded': (0.0, 0.1, 0.3, 0.5, 1.0),
    # height in pixels of the original image
    'height': (0.0, 50.0, 100.0, 200.0, 400.0, float('inf')),
}
_ATTRIBUTES: dict[str, Callable[[CrowdAnnotation], np.ndarray]] = {
    'visible': lambda annotation: annotation.visible,
    'crowded': CrowdAnnotation.crowdedness,
    'height': lambda annotation: annotation.boxes[:, 3] - annotation.boxes[:, 1],
}


def compute_attributes(annotations: Sequence[CrowdAnnotation]) -> dict[str, np.ndarray]:
    """Compute ``visible``, ``crowded`` and ``height`` of each gt, float64, shape (G, ).

    Example:
        >>> gts = [CrowdAnnotation.create('a', [[0, 0, 10, 20]])]
        >>> compute_attributes(gts)['height'].tolist()
        [20.0]
    """
    return {
        name: concat_arrays([compute(one)[~one.ignored] for one in annotations], np.float64)
        for name, compute in _ATTRIBUTES.items()
    }


def group_by_edges(
    values: np.ndarray, edges: Sequence[float]
) -> dict[tuple[float, float], np.ndarray]:
    """Divide gts by the values of an attribute.

    Args:
        values (np.ndarray): One per gt, NaN where unknown, shape (G, ).
        edges (Sequence[float]): Ascending.

    Returns:
        dict[tuple[float, float], np.ndarray]: By (lower edge, upper edge), a bool mask of shape
        (G, ). The lower edge belongs to the group, the upper one only to the last. Gts with an
        unknown value are in no group.

    Example:
        >>> groups = group_by_edges(np.array([0.1, 0.5, 1.0]), (0.0, 0.5, 1.0))
        >>> groups[0.5, 1.0].tolist()
        [False, True, True]
    """
    return {
        (low, high): (values >= low) & ((values <= high) if high == edges[-1] else (values < high))
        for low, high in pairwise(edges)
    }


@dataclass(frozen=True)
class Scores:
    """Metrics of a crowd benchmark, fractions of 1.

    Attributes:
        ap (float): Average precision.
        mr (float): Log-average miss rate, lower is better.
        recall (float): Fraction of gts detected at any score.
        num_gts (int): Number of gts evaluated.
    """

    ap: float
    mr: float
    recall: float
    num_gts: int


@dataclass(frozen=True)
class CrowdResult:
    """Result of an evaluation, from which groups and bootstrap samples can be scored.

    Attributes:
        img_ids (list): IDs of the images, length P.
        matches (dict[float, CrowdMatches]): By IoU threshold, the first is the main one.
        jaccard (JaccardResult, optional): None if it was not requested.
        annotations (Sequence[CrowdAnnotation]): Ground truth of the images.
        mr_ref (str): Key of ``MR_REFERENCES``.
    """

    img_ids: list
    matches: dict[float, CrowdMatches]
    jaccard: JaccardResult | None
    annotations: Sequence[CrowdAnnotation]
    mr_ref: str

    @cached_property
    def attributes(self) -> dict[str, np.ndarray]:
        """``visible``, ``crowded`` and ``height`` of each gt, float64, shape (G, )."""
        return compute_attributes(self.annotations)

    @property
    def main(self) -> CrowdMatches:
        """Matches at the main IoU threshold."""
        return next(iter(self.matches.values()))

    def curve(
        self,
        gt_mask: np.ndarray | None = None,
        image_counts: np.ndarray | None = None,
        iou_thr: float | None = None,
    ) -> Curve:
        """Compute precision, recall and miss rate over the score; see ``compute_curve``.

        Args:
            gt_mask (np.ndarray, optional): Gts that count, bool, shape (G, ).
            image_counts (np.ndarray, optional): How often each image counts, shape (P, ).
            iou_thr (float, optional): One of ``matches``. Defaults to the main one.
        """
        matches = self.main if iou_thr is None else self.matches[iou_thr]
        return compute_curve(matches, gt_mask, image_counts)

    def scores(
        self,
        gt_mask: np.ndarray | None = None,
        image_counts: np.ndarray | None = None,
        iou_thr: float | None = None,
    ) -> Scores:
        """Compute AP, miss rate and recall of all gts, of a group, or of a bootstrap sample.

        Args:
            gt_mask, image_counts, iou_thr: As in ``curve``.
        """
        curve = self.curve(gt_mask, image_counts, iou_thr)
        return Scores(
            ap=average_precision(curve),
            mr=log_average_miss_rate(curve, self.mr_ref),
            recall=max_recall(curve),
            num_gts=curve.num_gts,
        )

    def groups(self, attribute: str) -> dict[tuple[float, float], np.ndarray]:
        """Divide gts by an attribute of ``ATTRIBUTE_EDGES``; see :func:`group_by_edges`.

        Raises:
            ValueError: The attribute is unknown.
        """
        if attribute not in self.attributes:
            raise ValueError(
                f'attribute is {attribute!r}, expected one of {tuple(self.attributes)}'
            )
        return group_by_edges(self.attributes[attribute], ATTRIBUTE_EDGES[attribute])

    def per_image(self) -> list[dict]:
        """Count TPs and FPs of each image at the main IoU threshold.

        Returns:
            list[dict]: ``img_id``, ``num_gts``, ``num_tp`` and ``num_fp`` over all detections,
            and, if requested, ``ji`` at the score threshold that is best for the whole set, None
            if the image has nothing to match.
        """
        main = self.main
        columns: dict[str, list] = {'img_id': self.img_ids}
        for name, images in (
            ('num_gts', main.gt_image),
            ('num_tp', main.image[main.label == TP]),
            ('num_fp', main.image[main.label == FP]),
        ):
            columns[name] = np.bincount(images, minlength=len(self.img_ids)).tolist()
        if self.jaccard is not None:
            best = int(self.jaccard.means().argmax())
            ratio = self.jaccard.ratio[best].astype(object)
            ratio[~self.jaccard.counted[best]] = None
            columns['ji'] = ratio.tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def evaluate_crowd(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    iou_thrs: Sequence[float] = (0.5,),
    mr_ref: str = 'CALTECH_-2',
    with_jaccard: bool = True,
) -> CrowdResult:
    """Evaluate detections of people in crowds.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each image.
        detections (Sequence[CrowdDetections]): Detections of the same images in the same order.
            Detections of equal score are ordered by image, then by box.
        iou_thrs (Sequence[float]): IoU thresholds in (0, 1); the first is the main one, at which
            the Jaccard index is computed. Defaults to (0.5, ).
        mr_ref (str): Key of ``MR_REFERENCES``. Defaults to 'CALTECH_-2'.
        with_jaccard (bool): Whether to compute the Jaccard index. Defaults to True.

    Raises:
        ValueError: An argument is out of range, or the images differ.

    Example:
        >>> gts = [CrowdAnnotation.create('a', [[0, 0, 10, 20], [50, 0, 60, 20]])]
        >>> dets = [CrowdDetections.create('a', [[0, 0, 10, 20]], [0.9], 100, 100)]
        >>> result = evaluate_crowd(gts, dets)
        >>> result.scores().recall, round(result.jaccard.best(), 3)
        (0.5, 0.5)
    """
    if not len(iou_thrs) or not all(0 < thr < 1 for thr in iou_thrs):
        raise ValueError(f'iou_thrs is {iou_thrs}, expected one or more numbers between 0 and 1')
    if mr_ref not in MR_REFERENCES:
        raise ValueError(f'mr_ref is {mr_ref!r}, expected one of {tuple(MR_REFERENCES)}')
    pairs = collect_pairs(annotations, detections, min_iou=min(iou_thrs))
    return CrowdResult(
        img_ids=pairs.img_ids,
        matches={thr: match_crowd(pairs, thr) for thr in iou_thrs},
        jaccard=jaccard_index(pairs, iou_thrs[0]) if with_jaccard else None,
        annotations=annotations,
        mr_ref=mr_ref,
    )
