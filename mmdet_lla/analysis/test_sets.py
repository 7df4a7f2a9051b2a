"""Ground truth of a config's test set, and the evaluation of dumped detections on it."""

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
    """Ground truth of the test set of a config, and the settings of its evaluation.

    Annotations come from the ``.odgt`` file that the evaluator names, with visible fractions; else
    from the dataset.

    Args:
        cfg (Config): Config with ``test_dataloader`` and ``test_evaluator``.
    """

    __test__ = False  # not a pytest class

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
            annotations = [_to_annotation(dataset.get_data_info(i)) for i in range(len(dataset))]
        self.annotations = {annotation.img_id: annotation for annotation in annotations}

    def match_images(
        self, detections: Sequence[CrowdDetections]
    ) -> tuple[list[CrowdAnnotation], list[CrowdDetections]]:
        """Return annotations and detections of the detected images, in the annotations' order.

        The metric breaks ties between equal scores by that order.

        Raises:
            ValueError: An image is not in the test set.
        """
        by_id = {detection.img_id: detection for detection in detections}
        unknown = by_id.keys() - self.annotations.keys()
        if unknown:
            raise ValueError(
                f'image {min(unknown, key=str)!r} has detections, but is not among the '
                f'{len(self.annotations)} images of the test set'
            )
        img_ids = [img_id for img_id in self.annotations if img_id in by_id]
        return [self.annotations[i] for i in img_ids], [by_id[i] for i in img_ids]

    def evaluate(
        self, detections: Sequence[CrowdDetections], with_jaccard: bool = True
    ) -> CrowdResult:
        """Evaluate the detections of some or all images.

        Raises:
            ValueError: An image is not in the test set.
        """
        annotations, ordered = self.match_images(detections)
        return evaluate_crowd(annotations, ordered, (self.iou_thr,), self.mr_ref, with_jaccard)


def _to_annotation(info: dict) -> CrowdAnnotation:
    instances = info['instances']
    return CrowdAnnotation.create(
        info['img_id'],
        [instance['bbox'] for instance in instances],
        [bool(instance['ignore_flag']) for instance in instances],
    )


def load_detections(path: Path) -> list[CrowdDetections]:
    """Read the file that ``test --out`` wrote."""
    detections = []
    for sample in load(path):
        predicted = sample['pred_instances']
        bboxes, scores = (
            np.asarray(torch.as_tensor(predicted[key])) for key in ('bboxes', 'scores')
        )
        detections.append(
            CrowdDetections.create(sample['img_id'], bboxes, scores, *sample['ori_shape'][:2])
        )
    return detections


def summarize(result: CrowdResult, image_counts: np.ndarray | None = None) -> dict[str, float]:
    """Compute the metrics of ``METRICS`` as fractions of 1.

    Args:
        result (CrowdResult): Evaluation of one run, with the Jaccard index.
        image_counts (np.ndarray, optional): Weight of each image, shape (num_images,).
    """
    scores = result.scores(picture_counts=image_counts)
    assert result.jaccard is not None
    return dict(
        AP=scores.ap, MR=scores.mr, JI=result.jaccard.best(image_counts), recall=scores.recall
    )
