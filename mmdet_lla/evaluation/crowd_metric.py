"""AP, MR, JI and recall as an mmdet metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.fileio import dump, put_text

from .annotations import BOX_KEYS, CrowdAnnotation, CrowdDetections, load_odgt
from .crowd import ATTRIBUTE_EDGES, CrowdResult, evaluate_crowd
from .curves import MR_REFERENCES
from .detection_files import to_coco_results, to_crowdhuman_record
from .detection_metric import DetectionMetric

ALLOWED_METRICS = ('AP', 'MR', 'JI', 'recall')
# by CrowdDataset's names and by mmdet's numbers
EVAL_MODES: dict[Any, str] = {**BOX_KEYS, 0: 'fbox', 1: 'hbox'}


@METRICS.register_module()
class CrowdMetric(DetectionMetric):
    """Average precision, log-average miss rate, Jaccard index and recall in crowds.

    Replaces mmdet's ``CrowdHumanMetric``: the same arguments, keys and numbers, before mmdet's
    rounding to four decimals. It is faster, takes images in any order and each once, and defines
    the result without detections or without gts: AP, JI and recall 0, MR 1.

    Only the class named 'person' or 'pedestrian' in ``dataset_meta`` is evaluated, label 0 if no
    class has such a name.

    Args:
        ann_file (str, optional): CrowdHuman's ``.odgt`` file. Without it, ground truth is taken
            from the data samples' ``gt_instances`` and ``ignored_instances``, which must be in
            pixels of the original image (``LoadAnnotations`` after ``Resize`` in the pipeline).
        metric (str | Sequence[str]): Any of 'AP', 'MR', 'JI', 'recall'. 'AP' includes the
            recall. Defaults to all.
        format_only (bool): Whether to only write the detections. Defaults to False.
        outfile_prefix (str, optional): Where to write the detections. A path ending in ``.odgt``:
            one CrowdHuman record per line. Ending in ``.coco.json``: COCO results. Any other: the
            list ``{outfile_prefix}.json``, as mmdet does. Defaults to None, not written.
        file_client_args (dict, optional): Refused, as by mmdet; use ``backend_args``.
        backend_args (dict, optional): mmengine's file backend for reading.
        collect_device (str): 'cpu' or 'gpu', for several processes. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the keys. Defaults to 'crowd_human'.
        eval_mode (str | int): What is detected: 'body', 'visible' or 'head', or mmdet's 0 (bodies)
            and 1 (heads). Defaults to 'body'.
        iou_thres (float): IoU threshold. Defaults to 0.5.
        compare_matching_method (str, optional): Only None, the matching of Caltech; mmdet's 'VOC'
            fails on any image.
        mr_ref (str): 'CALTECH_-2' or 'CALTECH_-4', where the miss rate is read.
        num_ji_process (int, optional): Accepted for mmdet's configs, without effect: no processes
            are started.
        ap_iou_thrs (Sequence[float]): Further IoU thresholds, each giving a key ``AP_0.75``.
        breakdown (Sequence[str]): Any of 'visible', 'crowded', 'height': miss rate and recall by
            visible fraction, by the largest IoU with another gt, by height in pixels. Each group
            with gts adds keys like ``mMR_visible_0.65-0.9`` and ``recall_visible_0.65-0.9``.
        details_file (str, optional): Where to write a JSON file with all metrics, curves and
            counts per image.

    Raises:
        ValueError: An argument or the annotation file is invalid.

    Example:
        >>> CrowdMetric(metric=['AP', 'MR']).metrics
        ['AP', 'MR']
    """

    default_prefix: str | None = 'crowd_human'

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = ALLOWED_METRICS,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        file_client_args: dict | None = None,
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        eval_mode: str | int = 'body',
        iou_thres: float = 0.5,
        compare_matching_method: str | None = None,
        mr_ref: str = 'CALTECH_-2',
        num_ji_process: int | None = None,
        ap_iou_thrs: Sequence[float] = (),
        breakdown: Sequence[str] = (),
        details_file: str | None = None,
    ) -> None:
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        _check_members('metric', self.metrics, ALLOWED_METRICS)
        _check_members('eval_mode', [eval_mode], tuple(EVAL_MODES))
        _check_members('compare_matching_method', [compare_matching_method], (None,))
        _check_members('mr_ref', [mr_ref], tuple(MR_REFERENCES))
        _check_members('breakdown', breakdown, tuple(ATTRIBUTE_EDGES))
        if file_client_args is not None:
            raise ValueError('file_client_args is no longer taken, expected backend_args')
        for thr in (iou_thres, *ap_iou_thrs):
            if not 0 < thr < 1:
                raise ValueError(f'IoU threshold is {thr}, expected a number between 0 and 1')
        self.mr_ref = mr_ref
        self.ap_iou_thrs = tuple(ap_iou_thrs)
        # the main threshold first, every threshold once
        self.iou_thrs = tuple(dict.fromkeys((iou_thres, *ap_iou_thrs)))
        self.breakdown = tuple(breakdown)
        self.details_file = details_file
        # read now, so that an invalid file fails before the first epoch
        annotations = None
        if ann_file is not None and not format_only:
            annotations = load_odgt(ann_file, EVAL_MODES[eval_mode], backend_args)
        super().__init__(annotations, format_only, outfile_prefix, collect_device, prefix)

    def dump_detections(self, detections: Sequence[CrowdDetections], outfile_prefix: str) -> str:
        """Write detections as CrowdHuman's records or as COCO results."""
        if outfile_prefix.endswith('.coco.json'):
            dump(list(to_coco_results(detections)), outfile_prefix)
            return outfile_prefix
        records = [to_crowdhuman_record(detection) for detection in detections]
        if outfile_prefix.endswith('.odgt'):
            lines = [dump(record, file_format='json') + '\n' for record in records]
            put_text(''.join(lines), outfile_prefix)
            return outfile_prefix
        path = f'{outfile_prefix}.json'
        dump(records, path)
        return path

    def evaluate_images(
        self, annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
    ) -> dict[str, float]:
        """Evaluate detections; see ``evaluate_crowd``."""
        result = evaluate_crowd(
            annotations, detections, self.iou_thrs, self.mr_ref, with_jaccard='JI' in self.metrics
        )
        values = self._summarize(result)
        if self.details_file is not None:
            dump(collect_details(result, values), self.details_file)
        return values

    def _summarize(self, result: CrowdResult) -> dict[str, float]:
        scores = result.scores()
        values = {}
        if 'AP' in self.metrics:
            values['mAP'] = scores.ap
        if 'MR' in self.metrics:
            values['mMR'] = scores.mr
        if result.jaccard is not None:
            values['JI'] = result.jaccard.best()
        if 'AP' in self.metrics or 'recall' in self.metrics:
            values['recall'] = scores.recall
        for thr in self.ap_iou_thrs:
            values[f'AP_{thr:g}'] = result.scores(iou_thr=thr).ap
        for attribute in self.breakdown:
            for (low, high), mask in result.groups(attribute).items():
                if mask.any():
                    group = result.scores(mask)
                    values[f'mMR_{attribute}_{low:g}-{high:g}'] = group.mr
                    values[f'recall_{attribute}_{low:g}-{high:g}'] = group.recall
        return values


def collect_details(result: CrowdResult, values: dict[str, float], num_points: int = 1000) -> dict:
    """Collect metrics, curves and counts per image, ready for JSON.

    Args:
        result (CrowdResult): An evaluation.
        values (dict[str, float]): Its metrics, included as they are.
        num_points (int): Most points of a curve, evenly spaced over the detections. Defaults to
            1000.

    Returns:
        dict: ``values``; ``num_images``, ``num_gts`` and ``iou_thr``; ``curve`` with equally long
        lists ``score``, ``recall``, ``precision``, ``miss_rate`` and ``fppi``; ``per_image`` as in
        ``CrowdResult.per_image``; and, if computed, ``jaccard`` with lists ``score_thr`` and
        ``ji``.
    """
    curve = result.curve()
    count = len(curve.score)
    index = np.unique(np.linspace(0, count - 1, min(count, num_points)).astype(int))
    details = dict(
        values=values,
        num_images=curve.num_images,
        num_gts=curve.num_gts,
        iou_thr=result.main.iou_thr,
        curve={
            name: getattr(curve, name)[index].tolist()
            for name in ('score', 'recall', 'precision', 'miss_rate', 'fppi')
        },
        per_image=result.per_image(),
    )
    if result.jaccard is not None:
        details['jaccard'] = dict(
            score_thr=result.jaccard.thresholds.tolist(), ji=result.jaccard.means().tolist()
        )
    return details


def _check_members(name: str, values: Sequence, allowed: tuple) -> None:
    for value in values:
        if value not in allowed:
            raise ValueError(f'{name} is {value!r}, expected one of {allowed}')
