"""Evaluations of detections: each one's own code, and how its rules differ from CrowdHuman's."""

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
from ...evaluation.detection_files import coco_results
from .rules import Rules, outside, reshape_boxes

REASONABLE = SETUPS['reasonable']
ASPECT_RATIO = 0.41
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
CAPS = (100, 300, 500)


@dataclass(frozen=True)
class Task:
    """What is evaluated.

    Attributes:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture.
        detections (Sequence[CrowdDetections]): Of the same pictures in the same order.
        ann_file (str): The ``.odgt`` file that the ground truth is from.
        box (str): Which of its boxes: 'body', 'visible' or 'head'.
    """

    annotations: Sequence[CrowdAnnotation]
    detections: Sequence[CrowdDetections]
    ann_file: str
    box: str = 'body'


@dataclass(frozen=True)
class Toolkit:
    """One evaluation, which may have several sets of rules.

    Attributes:
        rules (dict[str, Rules]): By name of a row.
        explained (tuple[str]): The numbers that rules are to explain.
        evaluate (Callable): Numbers of each row by its own code, fractions of 1.
    """

    rules: dict[str, Rules]
    explained: tuple[str, ...]
    evaluate: Callable[[Task], dict[str, dict[str, float]]]


def _crowdhuman(task: Task) -> dict[str, dict[str, float]]:
    result = evaluate_crowd(task.annotations, task.detections)
    scores = result.scores()
    assert result.jaccard is not None  # evaluated above
    numbers = dict(AP=scores.ap, MR=scores.mr, JI=result.jaccard.best(), recall=scores.recall)
    return {'CrowdHuman': numbers}


def _crowdhuman_of_mmdet(task: Task) -> dict[str, dict[str, float]]:
    modes = {'body': 0, 'head': 1}
    if task.box not in modes:
        raise ValueError(f'it knows no boxes of kind {task.box!r}, only {tuple(modes)}')
    metric = CrowdHumanMetric(task.ann_file, eval_mode=modes[task.box])
    metric.process({}, [_sample(detection) for detection in task.detections])
    with tempfile.TemporaryDirectory() as folder:
        path = metric.results2json(metric.results, str(Path(folder) / 'detections'))
        pictures = metric.load_eval_samples(path)
    found = metric.compare(pictures)
    people = sum(one.gt_num - one.ign_num for one in pictures.values())
    means = []
    for i in range(10):
        # its own method, without its ten processes for each threshold
        results: queue.Queue = queue.Queue()
        metric.compute_ji_with_ignore(results, pictures, 1e-1 * i)
        means.append(metric.gather(list(results.queue))[1])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # logarithms of 0, means of nothing
        miss_rate = metric.eval_mr(found, people, len(pictures))
    numbers = dict(AP=metric.eval_ap(found, people, len(pictures)), MR=miss_rate, JI=max(means))
    return {'CrowdHumanMetric (mmdet)': {name: round(float(x), 4) for name, x in numbers.items()}}


def _sample(detection: CrowdDetections) -> dict:
    instances = dict(
        bboxes=torch.as_tensor(detection.boxes), scores=torch.as_tensor(detection.scores)
    )
    size = (detection.height, detection.width)
    return dict(img_id=detection.img_id, ori_shape=size, pred_instances=instances)


def _citypersons(task: Task) -> dict[str, dict[str, float]]:
    results = evaluate_citypersons(task.annotations, task.detections, {'reasonable': REASONABLE})
    return {'CityPersons, reasonable': dict(MR=results['reasonable'].miss_rate)}


def _caltech(task: Task) -> dict[str, dict[str, float]]:
    """Of ``dbEval.m``, but that people at the border of its pictures of 640 x 480 count here."""
    annotations = []
    for one in task.annotations:
        boxes = one.boxes.copy()
        heights = boxes[:, 3] - boxes[:, 1]
        counted = ~one.ignored & ~outside(
            heights, one.visible, REASONABLE.height, REASONABLE.visible
        )
        boxes[counted] = reshape_boxes(boxes[counted], ASPECT_RATIO)
        annotations.append(replace(one, boxes=boxes))
    detections = [
        replace(one, boxes=reshape_boxes(one.boxes.astype(np.float64), ASPECT_RATIO))
        for one in task.detections
    ]
    results = evaluate_citypersons(annotations, detections, {'reasonable': REASONABLE})
    return {'Caltech, reasonable': dict(MR=results['reasonable'].miss_rate)}


def _voc(task: Task) -> dict[str, dict[str, float]]:
    # Its sorting mixes detections of equal score, so it is handed their places.
    scores = np.concatenate([np.zeros(0), *(one.scores for one in task.detections)])
    place = np.empty(len(scores))
    place[np.argsort(-scores, kind='stable')] = np.arange(len(scores), 0, -1)
    ends = np.cumsum([len(one.scores) for one in task.detections])
    found = [
        [np.column_stack([one.boxes.astype(np.float64), part])]
        for one, part in zip(task.detections, np.split(place, ends[:-1]), strict=True)
    ]
    truth = [
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
        _, (result,) = eval_map(
            found, truth, eval_mode=mode, use_legacy_coordinate=True, nproc=1, logger='silent'
        )
        recall = result['recall']
        values[name] = dict(
            AP=float(result['ap']), recall=float(recall[-1]) if len(recall) else 0.0
        )
    return values


def _coco(task: Task) -> dict[str, dict[str, float]]:
    ground_truth, results = coco_files(task).values()
    with redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        # what loadRes does, which fails where there are none
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
        raise ValueError('it has no number where there is nobody to find')
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


def coco_files(task: Task) -> dict[str, Any]:
    """Ground truth and results as COCO has them, by file; pictures are numbered from 0."""
    numbered = [replace(one, img_id=i) for i, one in enumerate(task.detections)]
    return {
        'ground_truth.json': coco_ground_truth(task.annotations, task.detections),
        'results.json': list(coco_results(numbered)),
    }


def coco_ground_truth(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
) -> dict:
    """Ground truth as COCO has it: pictures numbered from 0, ignore regions as crowds."""
    images = [
        dict(id=i, file_name=f'{one.img_id}.jpg', height=one.height, width=one.width)
        for i, one in enumerate(detections)
    ]
    boxes: list[dict[str, Any]] = [
        dict(image_id=i, category_id=1, iscrowd=int(flag), bbox=[x1, y1, x2 - x1, y2 - y1])
        for i, one in enumerate(annotations)
        for (x1, y1, x2, y2), flag in zip(one.boxes.tolist(), one.ignored, strict=True)
    ]
    instances = [
        dict(one, id=i, area=one['bbox'][2] * one['bbox'][3]) for i, one in enumerate(boxes, 1)
    ]
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
