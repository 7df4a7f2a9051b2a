"""Evaluations of detections: the code of each, and how its rules differ from CrowdHuman's."""

from __future__ import annotations

import io
import queue
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.evaluation import CrowdHumanMetric, eval_map
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ...evaluation.citypersons import MAX_DETECTIONS, SETUPS, evaluate_citypersons
from ...evaluation.crowd import evaluate_crowd
from ...evaluation.detection_files import to_coco_results
from .rules import Rules, reshape_boxes

REASONABLE = SETUPS['reasonable']
ASPECT_RATIO = 0.41
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
CAPS = (100, 300, 500)


@dataclass(frozen=True)
class Task:
    """Annotations and detections to evaluate.

    Attributes:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each image.
        detections (Sequence[CrowdDetections]): Detections of the same images in the same order.
        ann_file (str): The ``.odgt`` file of the annotations.
        box (str): Kind of boxes: 'body', 'visible' or 'head'.
    """

    annotations: Sequence[CrowdAnnotation]
    detections: Sequence[CrowdDetections]
    ann_file: str
    box: str = 'body'


@dataclass(frozen=True)
class Toolkit:
    """One evaluation, with one or several sets of rules.

    Attributes:
        rules (dict[str, Rules]): Rules by row.
        explained (tuple[str]): Metrics whose differences the rules explain.
        evaluate (Callable): Computes the metrics of each row by its own code, fractions of 1.
    """

    rules: dict[str, Rules]
    explained: tuple[str, ...]
    evaluate: Callable[[Task], dict[str, dict[str, float]]]


def _crowdhuman(task: Task) -> dict[str, dict[str, float]]:
    result = evaluate_crowd(task.annotations, task.detections)
    scores = result.scores()
    assert result.jaccard is not None
    metrics = dict(AP=scores.ap, MR=scores.mr, JI=result.jaccard.best(), recall=scores.recall)
    return {'CrowdHuman': metrics}


def _crowdhuman_of_mmdet(task: Task) -> dict[str, dict[str, float]]:
    modes = {'body': 0, 'head': 1}
    if task.box not in modes:
        raise ValueError(f'boxes of kind {task.box!r} are not supported, only {tuple(modes)}')
    metric = CrowdHumanMetric(task.ann_file, eval_mode=modes[task.box])
    metric.process({}, [_to_data_sample(detection) for detection in task.detections])
    with tempfile.TemporaryDirectory() as directory:
        path = metric.results2json(metric.results, str(Path(directory) / 'detections'))
        images = metric.load_eval_samples(path)
    matches = metric.compare(images)
    num_gts = sum(one.gt_num - one.ign_num for one in images.values())
    means = []
    for i in range(10):
        # its own method, without its ten processes for each threshold
        results: queue.Queue = queue.Queue()
        metric.compute_ji_with_ignore(results, images, 1e-1 * i)
        means.append(metric.gather(list(results.queue))[1])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # logarithms of 0, means of nothing
        miss_rate = metric.eval_mr(matches, num_gts, len(images))
    average_precision = metric.eval_ap(matches, num_gts, len(images))
    metrics = dict(AP=average_precision, MR=miss_rate, JI=max(means))
    return {'CrowdHumanMetric (mmdet)': {name: round(float(x), 4) for name, x in metrics.items()}}


def _to_data_sample(detection: CrowdDetections) -> dict:
    instances = dict(
        bboxes=torch.as_tensor(detection.boxes), scores=torch.as_tensor(detection.scores)
    )
    size = (detection.height, detection.width)
    return dict(img_id=detection.img_id, ori_shape=size, pred_instances=instances)


def _citypersons(task: Task) -> dict[str, dict[str, float]]:
    results = evaluate_citypersons(task.annotations, task.detections, {'reasonable': REASONABLE})
    return {'CityPersons, reasonable': dict(MR=results['reasonable'].miss_rate)}


def _caltech(task: Task) -> dict[str, dict[str, float]]:
    """Rules of ``dbEval.m``, except that gts at the border of its images of 640 x 480 count."""
    annotations = []
    for one in task.annotations:
        boxes = one.boxes.copy()
        heights = boxes[:, 3] - boxes[:, 1]
        counted = ~one.ignored & ~REASONABLE.excludes(heights, one.visible)
        boxes[counted] = reshape_boxes(boxes[counted], ASPECT_RATIO)
        annotations.append(replace(one, boxes=boxes))
    detections = [
        replace(one, boxes=reshape_boxes(one.boxes.astype(np.float64), ASPECT_RATIO))
        for one in task.detections
    ]
    results = evaluate_citypersons(annotations, detections, {'reasonable': REASONABLE})
    return {'Caltech, reasonable': dict(MR=results['reasonable'].miss_rate)}


def _voc(task: Task) -> dict[str, dict[str, float]]:
    # Its sorting mixes detections of equal score, so their ranks replace the scores.
    scores = np.concatenate([np.zeros(0), *(one.scores for one in task.detections)])
    rank = np.empty(len(scores))
    rank[np.argsort(-scores, kind='stable')] = np.arange(len(scores), 0, -1)
    ends = np.cumsum([len(one.scores) for one in task.detections])
    results = [
        [np.column_stack([one.boxes.astype(np.float64), part])]
        for one, part in zip(task.detections, np.split(rank, ends[:-1]), strict=True)
    ]
    annotations = [
        dict(
            bboxes=one.boxes[~one.ignored],
            labels=np.zeros((~one.ignored).sum(), int),
            bboxes_ignore=one.boxes[one.ignored],
            labels_ignore=np.zeros(one.ignored.sum(), int),
        )
        for one in task.annotations
    ]
    values = {}
    for name, mode in (('VOC, 11 points', '11points'), ('VOC, all points', 'area')):
        options = dict(eval_mode=mode, use_legacy_coordinate=True, nproc=1, logger='silent')
        _, (result,) = eval_map(results, annotations, **options)
        recall = result['recall']
        values[name] = dict(
            AP=float(result['ap']), recall=float(recall[-1]) if len(recall) else 0.0
        )
    return values


def _coco(task: Task) -> dict[str, dict[str, float]]:
    ground_truth, results = create_coco_files(task).values()
    with redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        # as loadRes does, which fails without results
        numbered = [
            dict(one, id=i, iscrowd=0, area=one['bbox'][2] * one['bbox'][3])
            for i, one in enumerate(results, 1)
        ]
        found.dataset = dict(ground_truth, annotations=numbered)
        found.createIndex()
        evaluation = COCOeval(truth, found, 'bbox')
        evaluation.params.maxDets = list(CAPS)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][:, :, 0, 0]  # (IoUs, recalls, caps)
    recall = evaluation.eval['recall'][:, 0, 0]
    if (precision < 0).any():
        raise ValueError('it is undefined without gts')
    values = {}
    for i, cap in enumerate(CAPS):
        values[f'COCO AP50, {cap} detections'] = dict(
            AP=float(precision[0, :, i].mean()), recall=float(recall[0, i])
        )
    for i, cap in enumerate(CAPS):
        values[f'COCO AP, {cap} detections'] = dict(
            AP=float(precision[:, :, i].mean()), recall=float(recall[:, i].mean())
        )
    return values


def create_coco_files(task: Task) -> dict[str, Any]:
    """Convert annotations and detections to COCO's format, by file name; image IDs start at 0."""
    numbered = [replace(one, img_id=i) for i, one in enumerate(task.detections)]
    return {
        'ground_truth.json': create_coco_annotations(task.annotations, task.detections),
        'results.json': list(to_coco_results(numbered)),
    }


def create_coco_annotations(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
) -> dict:
    """Convert annotations to COCO's format: image IDs start at 0, ignore regions are crowds."""
    images = [
        dict(id=i, file_name=f'{one.img_id}.jpg', height=one.height, width=one.width)
        for i, one in enumerate(detections)
    ]
    instances: list[dict[str, Any]] = [
        dict(image_id=i, category_id=1, iscrowd=int(flag), bbox=[x1, y1, x2 - x1, y2 - y1])
        for i, one in enumerate(annotations)
        for (x1, y1, x2, y2), flag in zip(one.boxes.tolist(), one.ignored, strict=True)
    ]
    for i, one in enumerate(instances, 1):
        one.update(id=i, area=one['bbox'][2] * one['bbox'][3])
    return dict(images=images, annotations=instances, categories=[dict(id=1, name='person')])


_CITYPERSONS = Rules(
    clip=False,
    height=REASONABLE.height,
    visible=REASONABLE.visible,
    height_margin=1.25,
    max_dets=MAX_DETECTIONS,
    at_threshold=True,
    later_of_equals=True,
    read='below',
)
_VOC = Rules(
    clip=False,
    inclusive=True,
    at_threshold=True,
    second_choice=False,
    ignore='iou',
    area='envelope',
)
_COCO = Rules(clip=False, at_threshold=True, later_of_equals=True, area='101 points')

TOOLKITS = (
    Toolkit({'CrowdHuman': Rules()}, ('AP', 'MR'), _crowdhuman),
    Toolkit({'CrowdHumanMetric (mmdet)': Rules(decimals=4)}, ('AP', 'MR'), _crowdhuman_of_mmdet),
    Toolkit(
        {'Caltech, reasonable': replace(_CITYPERSONS, aspect_ratio=ASPECT_RATIO)},
        ('MR',),
        _caltech,
    ),
    Toolkit({'CityPersons, reasonable': _CITYPERSONS}, ('MR',), _citypersons),
    Toolkit(
        {'VOC, 11 points': replace(_VOC, area='11 points'), 'VOC, all points': _VOC},
        ('AP',),
        _voc,
    ),
    Toolkit(
        {f'COCO AP50, {cap} detections': replace(_COCO, max_dets=cap) for cap in CAPS}
        | {
            f'COCO AP, {cap} detections': replace(_COCO, max_dets=cap, iou_thrs=COCO_IOUS)
            for cap in CAPS
        },
        ('AP',),
        _coco,
    ),
)
