"""From a config's test set and dumped detections to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope

from ..evaluation.annotations import CrowdAnnotation, CrowdDetections, load_odgt
from ..evaluation.crowd import CrowdResult, evaluate_crowd
from ..evaluation.crowd_metric import EVAL_MODES

METRICS = ('AP', 'MR', 'JI', 'recall')
LOWER_IS_BETTER = frozenset({'MR'})


class TestSet:
    """Ground truth of the test set of a config, and how it is evaluated.

    People and visible shares come from the ``.odgt`` file of the evaluator where it names one, else
    people alone from the dataset.

    Args:
        cfg (Config): With ``test_dataloader`` and ``test_evaluator``.
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, cfg: Config) -> None:
        evaluators = cfg.test_evaluator
        evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
        crowd: dict = next(
            (e for e in evaluators if str(e.get('ann_file', '')).endswith('.odgt')), {}
        )
        self.mr_ref = crowd.get('mr_ref', 'CALTECH_-2')
        self.iou_thr = crowd.get('iou_thres', 0.5)
        if crowd:
            annotations = load_odgt(
                crowd['ann_file'],
                EVAL_MODES[crowd.get('eval_mode', 'body')],
                crowd.get('backend_args'),
            )
        else:
            init_default_scope(cfg.get('default_scope', 'mmdet'))
            dataset = DATASETS.build(cfg.test_dataloader.dataset)
            annotations = [_annotation(dataset.get_data_info(i)) for i in range(len(dataset))]
        self.annotations = {annotation.img_id: annotation for annotation in annotations}

    def side_by_side(
        self, detections: Sequence[CrowdDetections]
    ) -> tuple[list[CrowdAnnotation], list[CrowdDetections]]:
        """Annotations and detections of the pictures that have any, in the annotations' order.

        In that order the metric takes detections of equal score.

        Raises:
            ValueError: A picture is not in the test set.
        """
        found = {detection.img_id: detection for detection in detections}
        strangers = found.keys() - self.annotations.keys()
        if strangers:
            raise ValueError(
                f'picture {min(strangers, key=str)!r} was tested, but is none of the '
                f'{len(self.annotations)} of the test set'
            )
        pictures = [img_id for img_id in self.annotations if img_id in found]
        return [self.annotations[one] for one in pictures], [found[one] for one in pictures]

    def evaluate(
        self, detections: Sequence[CrowdDetections], with_jaccard: bool = True
    ) -> CrowdResult:
        """Evaluate the detections of some or all pictures.

        Raises:
            ValueError: A picture is not in the test set.
        """
        annotations, ordered = self.side_by_side(detections)
        return evaluate_crowd(annotations, ordered, (self.iou_thr,), self.mr_ref, with_jaccard)


def _annotation(info: dict) -> CrowdAnnotation:
    people = info['instances']
    return CrowdAnnotation.create(
        info['img_id'],
        [one['bbox'] for one in people],
        [bool(one['ignore_flag']) for one in people],
    )


def load_detections(path: Path) -> list[CrowdDetections]:
    """Read what ``tools/test.py --out`` wrote."""
    detections = []
    for sample in load(path):
        predicted = sample['pred_instances']
        boxes, scores = (
            np.asarray(torch.as_tensor(predicted[key])) for key in ('bboxes', 'scores')
        )
        detections.append(
            CrowdDetections.create(sample['img_id'], boxes, scores, *sample['ori_shape'][:2])
        )
    return detections


def summarize(result: CrowdResult, picture_counts: np.ndarray | None = None) -> dict[str, float]:
    """The numbers of ``METRICS``, fractions of 1.

    Args:
        result (CrowdResult): An evaluation.
        picture_counts (np.ndarray, optional): How often each picture counts, shape (P, ).
    """
    scores = result.scores(picture_counts=picture_counts)
    assert result.jaccard is not None  # asked for wherever runs are compared
    return dict(
        AP=scores.ap, MR=scores.mr, JI=result.jaccard.best(picture_counts), recall=scores.recall
    )
