"""Verify on a whole dataset that an exported file finds what its checkpoint finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
import torch
from mmdet.models.dense_heads import YOLOXHead
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ..runtime import Detections, read_image
from .rounding import SCORE_ROUNDING, Flip, NMSCandidates, explain

#: Allowed differences: of metrics, and of boxes in pixels of the image or, where that is more,
#: relative to their longer side (boxes that are powers of e differ in proportion).
METRIC_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.01
SIDE_TOLERANCE = 2e-5
#: Detections whose scores differ by more are not matched.
SCORE_TOLERANCE = 1e-3
#: A limit of detections that is never reached.
UNLIMITED = 2**31 - 1


@dataclass
class Comparison:
    """An exported file compared with its checkpoint.

    Attributes:
        num_images (int): Images of the test.
        metrics (dict[str, float]): Of the checkpoint.
        exported (dict[str, float]): Of the exported file.
        detections (int): Of the checkpoint.
        unmatched (int): Detections of either without one of the other within the tolerances.
        flips (list[tuple[str, Flip]]): Detections of one of them only that rounding explains, each
            with the ``img_id`` of its image; see :mod:`mmdet_lla.export.rounding`.
        box_difference (float): Largest difference of matched boxes, in pixels.
        score_difference (float): Largest difference of matched scores.
    """

    num_images: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    exported: dict[str, float] = field(default_factory=dict)
    detections: int = 0
    unmatched: int = 0
    flips: list[tuple[str, Flip]] = field(default_factory=list)
    box_difference: float = 0.0
    score_difference: float = 0.0

    @property
    def borderline(self) -> int:
        """Number of detections that rounding decides."""
        return len(self.flips)

    @property
    def same(self) -> bool:
        """Whether metrics and boxes agree within the tolerances."""
        differences = [abs(self.metrics[key] - self.exported[key]) for key in self.metrics]
        return not self.unmatched and max(differences, default=0.0) <= METRIC_TOLERANCE


def build_test_set(cfg: Config):
    """Build the test set of a config, wrappers such as ConcatDataset included."""
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    return DATASETS.build(cfg.test_dataloader.dataset)


def list_test_images(cfg: Config, limit: int | None = None) -> list[dict]:
    """Return ``img_path`` and ``img_id`` of the images of a config's test set."""
    return _list_images(build_test_set(cfg), limit)


def _list_images(dataset, limit: int | None) -> list[dict]:
    count = len(dataset) if limit is None else min(limit, len(dataset))
    return [dataset.get_data_info(i) for i in range(count)]


def compare(
    cfg: Config, detector, others: Sequence, limit: int | None = None, progress: bool = True
) -> list[Comparison]:
    """Test exported files and their checkpoint on the same images.

    Args:
        cfg (Config): Has ``test_dataloader`` and ``test_evaluator``.
        detector (TorchDetector): The checkpoint's.
        others (Sequence[Detector]): Exported files.
        limit (int, optional): Maximum images of the test set. Defaults to all.
        progress (bool): Whether to show a progress bar. Defaults to True.

    Returns:
        list[Comparison]: One for each of ``others``.
    """
    dataset = build_test_set(cfg)
    infos = _list_images(dataset, limit)
    evaluators = [_create_evaluator(cfg, dataset.metainfo) for _ in range(1 + len(others))]
    comparisons = [Comparison(len(infos)) for _ in others]
    for info in tqdm(infos, 'verifying', unit='image', disable=not progress):
        image = read_image(info['img_path'])
        found = [one.detect([one.prepare(image)])[0] for one in (detector, *others)]
        for evaluator, detections in zip(evaluators, found, strict=True):
            evaluator.process([_create_sample(info, detections)])
        candidates = cache(partial(_find_candidates, detector, image))
        for comparison, other, detections in zip(comparisons, others, found[1:], strict=True):
            exact = other.metadata.precision == 'float32'
            img_id = str(info['img_id'])
            _compare_image(comparison, img_id, found[0], detections, candidates if exact else None)
    metrics = [
        {key: float(value) for key, value in evaluator.evaluate(len(infos)).items()}
        for evaluator in evaluators
    ]
    for comparison, own in zip(comparisons, metrics[1:], strict=True):
        comparison.metrics, comparison.exported = metrics[0], own
    return comparisons


def _create_evaluator(cfg: Config, metainfo: dict) -> Evaluator:
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dict(metainfo)
    return evaluator


def _create_sample(info: dict, found: Detections) -> dict:
    """Create the data sample of an image that metrics process."""
    pred_instances = dict(
        bboxes=torch.from_numpy(found.boxes),
        scores=torch.from_numpy(found.scores),
        labels=torch.from_numpy(found.labels),
    )
    ori_shape = found.height, found.width
    return {**info, 'ori_shape': ori_shape, 'pred_instances': pred_instances}


def _compare_image(
    comparison: Comparison,
    img_id: str,
    found: Detections,
    other: Detections,
    candidates: Callable[[], NMSCandidates] | None,
) -> None:
    """Add one image; ``candidates`` is None where differences are counted unexplained."""
    pairs = match(found, other)
    comparison.detections += len(found)
    unmatched = len(found) + len(other) - 2 * len(pairs)
    if unmatched and candidates is not None:
        chosen = candidates()
        own, theirs = (_find_indices(chosen, one) for one in (found, other))
        wrong, flips = explain(chosen, *(_to_mask(len(chosen.found), one) for one in (own, theirs)))
        unknown = len(found) - len(own) + len(other) - len(theirs)  # no candidates at all
        comparison.unmatched += int(wrong.sum()) + unknown
        comparison.flips += [(img_id, flip) for flip in flips]
    else:
        comparison.unmatched += unmatched
    for mine, theirs in pairs:
        box = np.abs(found.boxes[mine] - other.boxes[theirs]).max()
        score = abs(found.scores[mine] - other.scores[theirs])
        comparison.box_difference = max(comparison.box_difference, float(box))
        comparison.score_difference = max(comparison.score_difference, float(score))


def _find_indices(candidates: NMSCandidates, found: Detections) -> np.ndarray:
    """Indices of the detections among the candidates; shorter where some are none of them."""
    shown = np.flatnonzero(candidates.shown)
    pairs = match(candidates.found.select(shown), found)
    return shown[[index for index, _ in pairs]]


def _to_mask(count: int, indices: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[indices] = True
    return mask


def _find_candidates(detector, image: np.ndarray) -> NMSCandidates:
    """Input of a checkpoint's NMS, and what rounding may add to it at ``score_thr``."""
    head = detector.model.bbox_head
    test_cfg = head.test_cfg
    original = dict(test_cfg)
    nms = original.get('nms') if getattr(head, 'needs_nms', True) else None
    # YOLOX's inference ignores max_per_img
    limit = None if isinstance(head, YOLOXHead) else original.get('max_per_img')
    found = []
    try:
        for change in (-SCORE_ROUNDING, SCORE_ROUNDING):
            score_thr = original.get('score_thr', 0) + change
            test_cfg.update(
                nms=None, max_per_img=UNLIMITED, clip_detections=False, score_thr=score_thr
            )
            found += detector.detect([detector.prepare(image)])
    finally:
        test_cfg.clear()
        test_cfg.update(original)
    more, fewer = found
    boxes, shown = more.boxes, np.ones(len(more), bool)
    if original.get('clip_detections', False):
        clipped = boxes.clip(0, np.float32([more.width, more.height] * 2))
        shown = (clipped[:, 2:] > clipped[:, :2]).all(1)
        more = replace(more, boxes=clipped)
    # both come from the same arithmetic, bit by bit
    certain = {(box.tobytes(), score) for box, score in zip(fewer.boxes, fewer.scores, strict=True)}
    rows = zip(boxes, more.scores, strict=True)
    uncertain = np.array([(box.tobytes(), score) not in certain for box, score in rows], bool)
    return NMSCandidates(
        more,
        boxes,
        shown,
        uncertain,
        np.inf if nms is None else float(nms.get('iou_threshold', 0.5)),
        bool(nms and nms.get('class_agnostic', False)),
        limit,
    )


def match(found: Detections, other: Detections) -> list[tuple[int, int]]:
    """Match detections that are the same within the tolerances, one to one.

    The order does not count: rounding may swap two detections with adjacent scores.

    Example:
        >>> one = Detections(np.float32([[0, 0, 4, 4]]), np.float32([0.9]), np.array([0]),
        ...                  ('person',), 8, 8)
        >>> match(one, one)
        [(0, 0)]
    """
    distance = np.abs(found.boxes[:, None] - other.boxes[None]).max(-1)
    distance[found.labels[:, None] != other.labels] = np.inf
    distance[np.abs(found.scores[:, None] - other.scores) > SCORE_TOLERANCE] = np.inf
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0)
    far = distance > np.maximum(BOX_TOLERANCE, SIDE_TOLERANCE * sides)[:, None]
    rows, columns = linear_sum_assignment(np.where(far, 1e3, distance))
    return [pair for pair in zip(rows.tolist(), columns.tolist(), strict=True) if not far[pair]]
