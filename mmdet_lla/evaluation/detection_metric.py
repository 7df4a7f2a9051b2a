"""What the metrics share: gathering detections from mmdet and joining them with ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from .annotations import CrowdAnnotation, CrowdDetections


class DetectionMetric(BaseMetric):
    """Keeps detections as small arrays and joins them with ground truth by the pictures' IDs.

    Pictures may come in any order, and more than once (a distributed sampler hands some to two
    processes); each counts once. Two pictures of one ID are an error: a picture is known by its
    ``img_path``, and where there is none by its size and ground truth.

    Args:
        annotations (Sequence[CrowdAnnotation], optional): Ground truth. None takes it from the data
            samples.
        format_only (bool): Whether detections alone are wanted.
        outfile_prefix (str, optional): Where detections are to be written.
        collect_device (str): 'cpu' or 'gpu', for several processes.
        prefix (str, optional): Prefix of the keys.

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
        """Keep the detections of a batch.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): With ``img_id``, ``ori_shape``, ``pred_instances``, and,
                without an annotation file, ``gt_instances`` and perhaps ``ignored_instances``.

        Raises:
            KeyError: A data sample lacks a field.
            ValueError: A box or a score is not finite.
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
            wanted = self.annotations is None and not self.format_only
            annotation = _annotation_of(sample) if wanted else None
            self.results.append((detections, annotation, sample.get('img_path')))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write detections, and evaluate them, as asked for.

        Args:
            results (list): What ``process`` kept, from all processes.

        Returns:
            dict[str, float]: Fractions of 1, not rounded; empty with ``format_only``.

        Raises:
            ValueError: A picture is not in the annotation file, or two have one ID.
        """
        annotations, detections = self._join(results)
        if self.outfile_prefix is not None:
            path = self.dump_detections(detections, self.outfile_prefix)
            MMLogger.get_current_instance().info(f'Detections are saved in {path}')
        return {} if self.format_only else self.evaluate_pictures(annotations, detections)

    def dump_detections(self, detections: Sequence[CrowdDetections], outfile_prefix: str) -> str:
        """Write detections in the benchmark's format; give the file's path."""
        raise NotImplementedError

    def evaluate_pictures(
        self, annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
    ) -> dict[str, float]:
        """Evaluate detections of the same pictures in the same order."""
        raise NotImplementedError

    def _join(self, results: list) -> tuple[list, list]:
        """Ground truth and detections, in the annotation file's order or, without one, by ID."""
        seen: dict = {}
        for detections, annotation, path in results:
            first = seen.setdefault(detections.img_id, (annotation, detections, path))
            if not _is_same_picture(first, (annotation, detections, path)):
                places = '' if path is None else f': {first[2]} and {path}'
                raise ValueError(
                    f'two pictures have the img_id {detections.img_id!r}{places}; expected one ID '
                    'a picture. If two test sets were joined, evaluate them one by one, or give '
                    'their pictures other IDs'
                )
        if self.annotations is None:
            pairs = [seen[img_id] for img_id in sorted(seen, key=str)]
            return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        known = {annotation.img_id for annotation in self.annotations}
        strangers = [img_id for img_id in seen if img_id not in known]
        if strangers:
            raise ValueError(
                f'img_id {strangers[0]!r} ({len(strangers)} such) is not an ID of the annotation '
                f'file, which has {len(known)} pictures, expected the file that the dataset reads'
            )
        if len(seen) < len(known):
            MMLogger.get_current_instance().warning(
                f'{len(known) - len(seen)} of {len(known)} pictures of the annotation file were '
                'not evaluated and do not count'
            )
        annotations = [a for a in self.annotations if a.img_id in seen]
        return annotations, [seen[a.img_id][1] for a in annotations]


def _is_same_picture(one: tuple, other: tuple) -> bool:
    """Whether two results of one ID, each (annotation, detections, path), are of one picture."""
    if one[2] is not None and other[2] is not None:
        return one[2] == other[2]
    if (one[1].height, one[1].width) != (other[1].height, other[1].width):
        return False
    return one[0] is None or (
        np.array_equal(one[0].boxes, other[0].boxes)
        and np.array_equal(one[0].ignored, other[0].ignored)
    )


def _to_numpy(values) -> np.ndarray:
    # mmdet's HorizontalBoxes wrap a tensor
    values = torch.as_tensor(getattr(values, 'tensor', values)).detach().cpu()
    return values.numpy() if values.dtype == torch.float64 else values.float().numpy()


def _annotation_of(sample: dict) -> CrowdAnnotation:
    if sample.get('gt_instances') is None:
        raise KeyError(
            f'data sample of picture {sample["img_id"]!r} has no gt_instances, expected them there '
            '(LoadAnnotations in the test pipeline) or an ann_file'
        )
    boxes = [
        _to_numpy((sample.get(key) or {}).get('bboxes', ())).reshape(-1, 4)
        for key in ('gt_instances', 'ignored_instances')
    ]
    ignored = np.repeat([False, True], [len(part) for part in boxes])
    return CrowdAnnotation.create(sample['img_id'], np.concatenate(boxes), ignored)
