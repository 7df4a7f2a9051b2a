"""The evaluation of a crowd detector in one call, free of mmdet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from .annotations import CrowdAnnotation, CrowdDetections
from .curves import (
    MR_REFERENCES,
    Curve,
    average_precision,
    curve_of,
    log_average_miss_rate,
    max_recall,
)
from .jaccard import JaccardResult, jaccard_index
from .matching import HIT, MISS, CrowdMatches, collect_pairs, match_crowd

# Edges of the groups that people are divided into; the last group includes its upper edge.
GROUPS = {
    # visible share: the cuts of CityPersons (heavy 0.2 to 0.65, partial to 0.9, bare above)
    'visible': (0.0, 0.2, 0.65, 0.9, 1.0),
    # largest IoU with another person; above 0.5 the default NMS of a detector merges the two
    'crowded': (0.0, 0.1, 0.3, 0.5, 1.0),
    # height in pixels of the original picture
    'height': (0.0, 50.0, 100.0, 200.0, 400.0, float('inf')),
}


@dataclass(frozen=True)
class Scores:
    """The numbers of a crowd benchmark, fractions of 1.

    Attributes:
        ap (float): Average precision.
        mr (float): Log-average miss rate, lower is better.
        recall (float): Share of people found by any detection.
        num_gts (int): People the numbers are about.
    """

    ap: float
    mr: float
    recall: float
    num_gts: int


@dataclass(frozen=True)
class CrowdResult:
    """What came of an evaluation, kept fine enough to be cut and drawn again.

    Attributes:
        img_ids (list): IDs of the pictures, length P.
        matches (Dict[float, CrowdMatches]): By IoU threshold, the first is the main one.
        jaccard (JaccardResult, optional): None when it was not asked for.
        traits (Dict[str, np.ndarray]): ``visible``, ``crowded`` and ``height`` of each person,
            float64, shape (G, ).
        mr_ref (str): Key of ``MR_REFERENCES``.
    """

    img_ids: list
    matches: dict[float, CrowdMatches]
    jaccard: JaccardResult | None
    annotations: Sequence[CrowdAnnotation]
    mr_ref: str

    @cached_property
    def traits(self) -> dict[str, np.ndarray]:
        """``visible``, ``crowded`` and ``height`` of each person, float64, shape (G, )."""

        def of_people(trait) -> np.ndarray:
            parts = [trait(annotation)[~annotation.ignored] for annotation in self.annotations]
            return np.concatenate([np.zeros(0), *parts])

        return {
            'visible': of_people(lambda annotation: annotation.visible),
            'crowded': of_people(CrowdAnnotation.crowdedness),
            'height': of_people(lambda annotation: annotation.boxes[:, 3] - annotation.boxes[:, 1]),
        }

    @property
    def main(self) -> CrowdMatches:
        """Matches at the main IoU threshold."""
        return next(iter(self.matches.values()))

    def curve(
        self,
        gt_mask: np.ndarray | None = None,
        picture_counts: np.ndarray | None = None,
        iou_thr: float | None = None,
    ) -> Curve:
        """The curves for a plot; see ``curve_of``.

        Args:
            gt_mask (np.ndarray, optional): Which people count, bool, shape (G, ).
            picture_counts (np.ndarray, optional): How often each picture counts, shape (P, ).
            iou_thr (float, optional): One of ``matches``. Defaults to the main one.
        """
        matches = self.main if iou_thr is None else self.matches[iou_thr]
        return curve_of(matches, gt_mask, picture_counts)

    def scores(
        self,
        gt_mask: np.ndarray | None = None,
        picture_counts: np.ndarray | None = None,
        iou_thr: float | None = None,
    ) -> Scores:
        """AP, miss rate and recall of all people, of some, or of a draw of pictures.

        Args:
            gt_mask, picture_counts, iou_thr: As in ``curve``.
        """
        curve = self.curve(gt_mask, picture_counts, iou_thr)
        return Scores(
            ap=average_precision(curve),
            mr=log_average_miss_rate(curve, self.mr_ref),
            recall=max_recall(curve),
            num_gts=curve.num_gts,
        )

    def groups(
        self, trait: str, edges: Sequence[float] | None = None
    ) -> dict[tuple[float, float], np.ndarray]:
        """Divide people by a trait.

        Args:
            trait (str): ``visible``, ``crowded`` or ``height``.
            edges (Sequence[float], optional): Rising. Defaults to ``GROUPS[trait]``.

        Returns:
            Dict[Tuple[float, float], np.ndarray]: By (lower edge, upper edge), a ``gt_mask``. The
            lower edge belongs to the group, the upper one only to the last. People whose trait is
            unknown are in none.

        Raises:
            ValueError: The trait is another.
        """
        if trait not in self.traits:
            raise ValueError(f'trait is {trait!r}, expected one of {tuple(self.traits)}')
        edges = GROUPS[trait] if edges is None else tuple(edges)
        values = self.traits[trait]
        masks = {}
        for low, high in pairwise(edges):
            last = high == edges[-1]
            masks[low, high] = (values >= low) & ((values <= high) if last else (values < high))
        return masks

    def per_picture(self) -> list[dict]:
        """Counts and Jaccard index of each picture, at the main IoU threshold.

        Returns:
            List[dict]: ``img_id``, ``num_gts``, ``num_hits``, ``num_misses`` (false positives) over
            all detections, and, where asked for, ``ji`` at the score threshold that is best for
            the whole set, None where the picture has nothing to match.
        """
        count = len(self.img_ids)
        main = self.main
        columns: dict[str, np.ndarray] = {
            'num_gts': np.bincount(main.gt_picture, minlength=count),
            'num_hits': np.bincount(main.picture[main.label == HIT], minlength=count),
            'num_misses': np.bincount(main.picture[main.label == MISS], minlength=count),
        }
        if self.jaccard is not None:
            best = int(self.jaccard.means().argmax())
            ratio = self.jaccard.ratio[best].astype(object)
            ratio[~self.jaccard.counted[best]] = None
            columns['ji'] = ratio
        names = ['img_id', *columns]
        counts = [column.tolist() for column in columns.values()]
        return [
            dict(zip(names, row, strict=True)) for row in zip(self.img_ids, *counts, strict=False)
        ]


def evaluate_crowd(
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    iou_thrs: Sequence[float] = (0.5,),
    mr_ref: str = 'CALTECH_-2',
    with_jaccard: bool = True,
) -> CrowdResult:
    """Evaluate detections of people in crowds.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture.
        detections (Sequence[CrowdDetections]): Detections of the same pictures in the same order.
            Detections of equal score are taken in the order of pictures, then of boxes.
        iou_thrs (Sequence[float]): IoU thresholds in (0, 1); the first is the main one, at which
            the Jaccard index is taken. Defaults to (0.5, ).
        mr_ref (str): Key of ``MR_REFERENCES``. Defaults to 'CALTECH_-2'.
        with_jaccard (bool): Whether to find the Jaccard index. Defaults to True.

    Returns:
        CrowdResult: All there is to know.

    Raises:
        ValueError: An argument is out of range, or the pictures do not agree.
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
