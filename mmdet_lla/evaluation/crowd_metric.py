"""AP, MR, JI and recall for mmdet's evaluators."""

from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump, put_text
from mmengine.logging import MMLogger

from .annotations import CrowdAnnotation, CrowdDetections, load_odgt
from .crowd import GROUPS, CrowdResult, evaluate_crowd
from .curves import MR_REFERENCES

ALLOWED_METRICS = ('AP', 'MR', 'JI', 'recall')
# mmdet's numbers for what is detected
EVAL_MODES = {0: 'fbox', 1: 'hbox'}


@METRICS.register_module()
class CrowdMetric(BaseMetric):
    """Average precision, log-average miss rate, Jaccard index and recall in crowds.

    Takes the place of mmdet's ``CrowdHumanMetric``: the same arguments, keys and numbers, before
    mmdet's rounding to four places. It is faster, takes pictures in any order and each once, and
    has an answer where there are no detections or no people: AP, JI and recall 0, MR 1.

    Args:
        ann_file (str, optional): CrowdHuman's ``.odgt`` file. Without it, ground truth is taken
            from the data samples' ``gt_instances`` and ``ignored_instances``, which must be in
            pixels of the original picture (``LoadAnnotations`` after ``Resize`` in the pipeline).
        metric (str | Sequence[str]): Any of 'AP', 'MR', 'JI', 'recall'. 'AP' brings the recall
            along. Defaults to all.
        format_only (bool): Only write the detections. Defaults to False.
        outfile_prefix (str, optional): Where to write the detections in CrowdHuman's format: the
            list ``{outfile_prefix}.json`` as mmdet does, or, if it ends in ``.odgt``, that file
            with one record a line. Defaults to None, not written.
        file_client_args (dict, optional): Refused, as by mmdet; use ``backend_args``.
        backend_args (dict, optional): mmengine's file backend for reading.
        collect_device (str): 'cpu' or 'gpu', for several processes. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the keys. Defaults to 'crowd_human'.
        eval_mode (int): What is detected: 0 bodies, 1 heads. Defaults to 0.
        iou_thres (float): IoU threshold. Defaults to 0.5.
        compare_matching_method (str, optional): Only None, the matching of Caltech; mmdet's 'VOC'
            fails on any picture.
        mr_ref (str): 'CALTECH_-2' or 'CALTECH_-4', where the miss rate is read.
        num_ji_process (int, optional): Accepted for the sake of mmdet's configs, without effect: no
            processes are started.
        ap_iou_thrs (Sequence[float]): Further IoU thresholds, each giving a key ``AP_0.75``.
        breakdown (Sequence[str]): Any of 'visible', 'crowded', 'height': miss rate and recall by
            visible share, by the largest IoU with another person, by height in pixels, each group
            giving keys ``mMR_visible_0.65-0.9`` and ``recall_visible_0.65-0.9``.
        details_file (str, optional): Where to write a JSON file with all numbers, curves and
            counts of each picture.

    Raises:
        ValueError: An argument is not one of those above.
    """

    default_prefix: Optional[str] = 'crowd_human'

    def __init__(
        self,
        ann_file: Optional[str] = None,
        metric: Union[str, Sequence[str]] = ALLOWED_METRICS,
        format_only: bool = False,
        outfile_prefix: Optional[str] = None,
        file_client_args: Optional[dict] = None,
        backend_args: Optional[dict] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
        eval_mode: int = 0,
        iou_thres: float = 0.5,
        compare_matching_method: Optional[str] = None,
        mr_ref: str = 'CALTECH_-2',
        num_ji_process: Optional[int] = None,
        ap_iou_thrs: Sequence[float] = (),
        breakdown: Sequence[str] = (),
        details_file: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        _check_members('metric', self.metrics, ALLOWED_METRICS)
        _check_members('eval_mode', [eval_mode], tuple(EVAL_MODES))
        _check_members('compare_matching_method', [compare_matching_method], (None,))
        _check_members('mr_ref', [mr_ref], tuple(MR_REFERENCES))
        _check_members('breakdown', breakdown, tuple(GROUPS))
        if format_only and outfile_prefix is None:
            raise ValueError('format_only is True, expected an outfile_prefix to write to')
        if file_client_args is not None:
            raise ValueError('file_client_args is no longer taken, expected backend_args')
        for thr in (iou_thres, *ap_iou_thrs):
            if not 0 < thr < 1:
                raise ValueError(f'IoU threshold is {thr}, expected a number between 0 and 1')
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        self.mr_ref = mr_ref
        self.ap_iou_thrs = tuple(ap_iou_thrs)
        # the main threshold first, every threshold once
        self.iou_thrs = tuple(dict.fromkeys((iou_thres, *ap_iou_thrs)))
        self.breakdown = tuple(breakdown)
        self.details_file = details_file
        # read now: a broken file must not wait for the end of the first epoch
        self.annotations = None
        if ann_file is not None and not format_only:
            self.annotations = load_odgt(ann_file, EVAL_MODES[eval_mode], backend_args)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the detections of a batch, as small arrays.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): With ``img_id``, ``ori_shape``, ``pred_instances``, and,
                without ``ann_file``, ``gt_instances`` and perhaps ``ignored_instances``.

        Raises:
            ValueError: A box or a score is not finite.
            KeyError: A data sample lacks a field.
        """
        for sample in data_samples:
            height, width = sample['ori_shape'][:2]
            predictions = sample['pred_instances']
            detections = CrowdDetections.create(
                sample['img_id'],
                _to_numpy(predictions['bboxes']),
                _to_numpy(predictions['scores']),
                height,
                width,
            )
            annotation = None
            if self.annotations is None and not self.format_only:
                annotation = _annotation_of(sample)
            self.results.append((detections, annotation))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Evaluate all pictures.

        Args:
            results (list): What ``process`` kept, from all processes.

        Returns:
            Dict[str, float]: Fractions of 1, not rounded.

        Raises:
            ValueError: A picture is not in the annotation file.
        """
        # a distributed sampler may hand a picture to two processes
        unique = {detections.img_id: (detections, annotation) for detections, annotation in results}
        if self.annotations is not None:
            detections, annotations = self._join_annotations(unique)
        else:
            detections = [detection for detection, _ in unique.values()]
            annotations = [annotation for _, annotation in unique.values()]
        if self.outfile_prefix is not None:
            path = dump_detections(detections, self.outfile_prefix)
            MMLogger.get_current_instance().info(f'Detections are saved in {path}')
        if self.format_only:
            return {}
        result = evaluate_crowd(
            annotations, detections, self.iou_thrs, self.mr_ref, with_jaccard='JI' in self.metrics
        )
        values = self._summarize(result)
        if self.details_file is not None:
            dump(details_of(result, values), self.details_file)
        return values

    def _join_annotations(self, unique: dict):
        """Detections and ground truth of the pictures seen, in the annotation file's order."""
        known = {annotation.img_id for annotation in self.annotations}
        strangers = [img_id for img_id in unique if img_id not in known]
        if strangers:
            raise ValueError(
                f'img_id {strangers[0]!r} ({len(strangers)} such) is not an ID of the annotation '
                f'file, which has {len(known)}, expected the file that the dataset reads'
            )
        if len(unique) < len(known):
            MMLogger.get_current_instance().warning(
                f'{len(known) - len(unique)} of {len(known)} pictures of the annotation file were '
                'not evaluated and do not count'
            )
        annotations = [a for a in self.annotations if a.img_id in unique]
        return [unique[a.img_id][0] for a in annotations], annotations

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
        for trait in self.breakdown:
            for (low, high), mask in result.groups(trait).items():
                group = result.scores(mask)
                values[f'mMR_{trait}_{low:g}-{high:g}'] = group.mr
                values[f'recall_{trait}_{low:g}-{high:g}'] = group.recall
        return values


def dump_detections(detections: Sequence[CrowdDetections], outfile_prefix: str) -> str:
    """Write detections in CrowdHuman's format: boxes ``x, y, width, height``, tag 1.

    Args:
        detections (Sequence[CrowdDetections]): One for each picture.
        outfile_prefix (str): A path ending in ``.odgt`` for one record a line; any other for the
            list ``{outfile_prefix}.json``.

    Returns:
        str: The file.
    """
    records = [_detection_record(detection) for detection in detections]
    if outfile_prefix.endswith('.odgt'):
        put_text(
            ''.join(dump(record, file_format='json') + '\n' for record in records), outfile_prefix
        )
        return outfile_prefix
    path = f'{outfile_prefix}.json'
    dump(records, path)
    return path


def _detection_record(detection: CrowdDetections) -> dict:
    boxes = detection.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return dict(
        ID=detection.img_id,
        width=detection.width,
        height=detection.height,
        dtboxes=[
            dict(box=box, score=score, tag=1)
            for box, score in zip(boxes.tolist(), detection.scores.tolist())
        ],
    )


def details_of(result: CrowdResult, values: dict[str, float], num_points: int = 1000) -> dict:
    """Numbers, curves and counts of each picture, ready for JSON.

    Args:
        result (CrowdResult): An evaluation.
        values (Dict[str, float]): Its summary, put in as it is.
        num_points (int): Most points of a curve, spread evenly over the detections. Defaults to
            1000.
    """
    curve = result.curve()
    count = len(curve.score)
    places = np.unique(np.linspace(0, count - 1, min(count, num_points)).astype(int))
    details = dict(
        values=values,
        num_pictures=curve.num_pictures,
        num_gts=curve.num_gts,
        iou_thr=result.main.iou_thr,
        curve={
            name: getattr(curve, name)[places].tolist()
            for name in ('score', 'recall', 'precision', 'miss_rate', 'fppi')
        },
        per_picture=result.per_picture(),
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


def _to_numpy(values) -> np.ndarray:
    if not isinstance(values, torch.Tensor):
        values = torch.as_tensor(values)
    values = values.detach().cpu()
    return values.numpy() if values.dtype == torch.float64 else values.float().numpy()


def _annotation_of(sample: dict) -> CrowdAnnotation:
    boxes: list[np.ndarray] = []
    for key in ('gt_instances', 'ignored_instances'):
        instances = sample.get(key)
        if instances is None and key == 'gt_instances':
            raise KeyError(
                f'data sample of picture {sample["img_id"]!r} has no gt_instances, expected them '
                'there (LoadAnnotations in the test pipeline) or an ann_file'
            )
        found = None if instances is None else instances.get('bboxes')
        # horizontal boxes of mmdet wrap a tensor
        found = getattr(found, 'tensor', found)
        boxes.append(np.zeros((0, 4)) if found is None else _to_numpy(found).reshape(-1, 4))
    ignored = np.repeat([False, True], [len(boxes[0]), len(boxes[1])])
    return CrowdAnnotation.create(sample['img_id'], np.concatenate(boxes), ignored)
