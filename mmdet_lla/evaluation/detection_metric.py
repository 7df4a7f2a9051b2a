"""Base of the crowd metrics: gathers detections from mmdet and joins them with ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from .annotations import CrowdAnnotation, CrowdDetections
from .detection_files import find_person_label, to_numpy


class DetectionMetric(BaseMetric):
    """Collects detections of people and joins them with ground truth by image ID.

    Images may come in any order and more than once (a distributed sampler may give one to two
    processes); each counts once. Two images with the same ID are an error: images are told apart
    by ``img_path`` or, without it, by size and ground truth.

    Only the class named 'person' or 'pedestrian' in ``dataset_meta`` is evaluated, label 0 if no
    class has such a name. The number of other detections is logged.

    Args:
        annotations (Sequence[CrowdAnnotation], optional): Ground truth. None takes it from the data
            samples.
        format_only (bool): Whether to only write the detections.
        outfile_prefix (str, optional): Where to write the detections.
        collect_device (str): 'cpu' or 'gpu', for several processes.
        prefix (str, optional): Prefix of the metric keys.

    Raises:
        ValueError: ``format_only`` without ``outfile_prefix``.
    """

    def __init__(
        self,
        annotations: Sequence[CrowdAnnotation] | None,
        format_only: bool,
        outfile_prefix: str | None,
        collect_device: str,
        prefix: str | None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if format_only and outfile_prefix is None:
            raise ValueError('format_only is True, expected an outfile_prefix to write to')
        self.annotations = annotations
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Collect the detections of a batch.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): With ``img_id``, ``ori_shape``, ``pred_instances`` and,
                without an annotation file, ``gt_instances`` and optionally ``ignored_instances``.

        Raises:
            KeyError: A data sample lacks a field.
            ValueError: A box or a score is not finite.
        """
        person = find_person_label((self.dataset_meta or {}).get('classes'))
        for sample in data_samples:
            boxes, scores, num_others = _select_person(
                sample['pred_instances'], person, ('bboxes', 'scores')
            )
            detections = CrowdDetections.create(
                sample['img_id'], boxes, scores, *sample['ori_shape'][:2]
            )
            from_sample = self.annotations is None and not self.format_only
            annotation = _create_annotation(sample, person) if from_sample else None
            self.results.append((detections, annotation, sample.get('img_path'), num_others))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write detections and evaluate them, as requested.

        Args:
            results (list): What ``process`` collected, from all processes.

        Returns:
            dict[str, float]: Fractions of 1, not rounded; empty with ``format_only``.

        Raises:
            ValueError: An image is not in the annotation file, or two have the same ID.
        """
        annotations, detections = self._join(results)
        if self.outfile_prefix is not None:
            path = self.dump_detections(detections, self.outfile_prefix)
            MMLogger.get_current_instance().info(f'Detections are saved in {path}')
        return {} if self.format_only else self.evaluate_images(annotations, detections)

    def dump_detections(self, detections: Sequence[CrowdDetections], outfile_prefix: str) -> str:
        """Write detections in the benchmark's format and return the path of the file."""
        raise NotImplementedError

    def evaluate_images(
        self, annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
    ) -> dict[str, float]:
        """Evaluate detections of the same images in the same order."""
        raise NotImplementedError

    def _join(self, results: list) -> tuple[list, list]:
        """Ground truth and detections, in the annotation file's order or, without one, by ID."""
        by_id: dict = {}
        num_others = 0
        for detections, annotation, path, others in results:
            num_others += others
            first = by_id.setdefault(detections.img_id, (annotation, detections, path))
            if not _is_same_image(first, (annotation, detections, path)):
                paths = '' if path is None else f': {first[2]} and {path}'
                raise ValueError(
                    f'two images have the img_id {detections.img_id!r}{paths}; expected a unique '
                    'ID for each image. If two test sets were joined, evaluate them one by one, or '
                    'give their images other IDs'
                )
        logger = MMLogger.get_current_instance()
        if num_others:
            logger.warning(
                f'{num_others} detections of other classes were left out; only people are evaluated'
            )
        if self.annotations is None:
            pairs = [by_id[img_id] for img_id in sorted(by_id, key=str)]
            return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        known = {annotation.img_id for annotation in self.annotations}
        unknown = [img_id for img_id in by_id if img_id not in known]
        if unknown:
            raise ValueError(
                f'img_id {unknown[0]!r} ({len(unknown)} such) is not an ID of the annotation file, '
                f'which has {len(known)} images, expected the file that the dataset reads'
            )
        if len(by_id) < len(known):
            logger.warning(
                f'{len(known) - len(by_id)} of {len(known)} images of the annotation file were not '
                'evaluated and do not count'
            )
        annotations = [a for a in self.annotations if a.img_id in by_id]
        return annotations, [by_id[a.img_id][1] for a in annotations]


def _is_same_image(one: tuple, other: tuple) -> bool:
    """Whether two results of one ID, each (annotation, detections, path), are of one image."""
    if one[2] is not None and other[2] is not None:
        return one[2] == other[2]
    if (one[1].height, one[1].width) != (other[1].height, other[1].width):
        return False
    return one[0] is None or (
        np.array_equal(one[0].boxes, other[0].boxes)
        and np.array_equal(one[0].ignored, other[0].ignored)
    )


def _select_person(instances, person: int, keys: Sequence[str]) -> tuple:
    """Fields of the instances of people, and the number of other instances."""
    fields = [to_numpy(instances[key]) for key in keys]
    if 'labels' not in instances:
        return *fields, 0
    keep = to_numpy(instances['labels']) == person
    return *(field[keep] for field in fields), int((~keep).sum())


def _create_annotation(sample: dict, person: int) -> CrowdAnnotation:
    if sample.get('gt_instances') is None:
        raise KeyError(
            f'data sample of image {sample["img_id"]!r} has no gt_instances, expected them there '
            '(LoadAnnotations in the test pipeline) or an ann_file'
        )
    gt_bboxes, _ = _select_person(sample['gt_instances'], person, ('bboxes',))
    # Ignore regions excuse whatever their label is: mmdet gives them -1.
    regions = to_numpy((sample.get('ignored_instances') or {}).get('bboxes', ()))
    boxes = [np.reshape(part, (-1, 4)) for part in (gt_bboxes, regions)]
    ignored = np.repeat([False, True], [len(part) for part in boxes])
    return CrowdAnnotation.create(sample['img_id'], np.concatenate(boxes), ignored)
