"""Ground truth of a config's test set, and the evaluation of dumped detections on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..evaluation.annotations import CrowdAnnotation, CrowdDetections, load_odgt
from ..evaluation.crowd import CrowdResult, evaluate_crowd
from ..evaluation.crowd_metric import EVAL_MODES
from ..evaluation.detection_files import find_person_label, read_detections

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
        dataset_cfg = cfg.test_dataloader.dataset
        self.person = find_person_label((dataset_cfg.get('metainfo') or {}).get('classes'))
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
            dataset = DATASETS.build(dataset_cfg)
            self.person = find_person_label(dataset.metainfo.get('classes'))
            infos = (dataset.get_data_info(i) for i in range(len(dataset)))
            annotations = [self._create_annotation(info) for info in infos]
        self.annotations = {annotation.img_id: annotation for annotation in annotations}

    def _create_annotation(self, info: dict) -> CrowdAnnotation:
        instances = [
            one
            for one in info['instances']
            if one['ignore_flag'] or one.get('bbox_label', self.person) == self.person
        ]
        return CrowdAnnotation.create(
            info['img_id'],
            [instance['bbox'] for instance in instances],
            [bool(instance['ignore_flag']) for instance in instances],
        )

    def read_detections(self, path: str | Path) -> list[CrowdDetections]:
        """Read the detections of people in the file that ``test --out`` wrote.

        Raises:
            DetectionFileError: The file is invalid.
        """
        return read_detections(path, person=self.person)

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


def summarize(result: CrowdResult, image_counts: np.ndarray | None = None) -> dict[str, float]:
    """Compute the metrics of ``METRICS`` as fractions of 1.

    Args:
        result (CrowdResult): Evaluation of one run, with the Jaccard index.
        image_counts (np.ndarray, optional): Weight of each image, shape (num_images,).
    """
    scores = result.scores(image_counts=image_counts)
    assert result.jaccard is not None
    return dict(
        AP=scores.ap, MR=scores.mr, JI=result.jaccard.best(image_counts), recall=scores.recall
    )
