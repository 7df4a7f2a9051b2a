"""The proof that an exported file finds what its checkpoint finds, on a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
import torch
from mmdet.models.dense_heads import YOLOXHead
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ..runtime import Detections, read_picture
from .rounding import SCORE_ROUNDING, Candidates, Flip, explain

#: What may differ: metrics, and boxes in pixels of the picture or, where that is more, by a part of
#: their longer side (those that are powers of e differ in proportion).
METRIC_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.01
SIDE_TOLERANCE = 2e-5
#: Scores of two detections that are taken for the same.
SCORE_TOLERANCE = 1e-3
#: A limit of detections that is none.
ALL = 2**31 - 1


@dataclass
class Comparison:
    """A detector beside the one it was made of.

    Attributes:
        pictures (int): How many they were tested on.
        metrics (dict[str, float]): Of the checkpoint.
        exported (dict[str, float]): Of the exported file.
        detections (int): Of the checkpoint.
        unmatched (int): Detections of either without one of the other within the tolerance.
        flips (list[tuple[str, Flip]]): Those that are not counted, for rounding decides, each with
            the ``img_id`` of its picture; see :mod:`mmdet_lla.export.rounding`.
        box_difference (float): Largest of those that have one, in pixels.
        score_difference (float): Largest of those that have one.
    """

    pictures: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    exported: dict[str, float] = field(default_factory=dict)
    detections: int = 0
    unmatched: int = 0
    flips: list[tuple[str, Flip]] = field(default_factory=list)
    box_difference: float = 0.0
    score_difference: float = 0.0

    @property
    def borderline(self) -> int:
        """How many rounding decides."""
        return len(self.flips)

    @property
    def same(self) -> bool:
        """Whether metrics and boxes agree within the tolerances."""
        differences = [abs(self.metrics[key] - self.exported[key]) for key in self.metrics]
        return not self.unmatched and max(differences, default=0.0) <= METRIC_TOLERANCE


def pictures_of(cfg: Config, limit: int | None = None) -> list[dict]:
    """``img_path`` and ``img_id`` of every picture of a config's test set, or of the first."""
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    return [dataset.get_data_info(i) for i in range(count)]


def compare(
    cfg: Config, detector, others: Sequence, limit: int | None = None, progress: bool = True
) -> list[Comparison]:
    """Test exported files beside their checkpoint.

    Args:
        cfg (Config): With ``test_dataloader`` and ``test_evaluator``.
        detector: The checkpoint's; see :mod:`mmdet_lla.inference.model`.
        others (Sequence): Detectors of exported files.
        limit (int, optional): Pictures of the test set. Defaults to all.
        progress (bool): Whether to show it. Defaults to True.

    Returns:
        list[Comparison]: One for each of ``others``.
    """
    infos = pictures_of(cfg, limit)
    tests = [_Test(cfg) for _ in range(1 + len(others))]
    compared = [Comparison(len(infos)) for _ in others]
    for info in tqdm(infos, 'verifying', unit='picture', disable=not progress):
        image = read_picture(info['img_path'])
        found = [one.detect([one.prepare(image)])[0] for one in (detector, *others)]
        for test, detections in zip(tests, found, strict=True):
            test.add(info, detections)
        candidates = cache(partial(_candidates, detector, image))
        for comparison, other, detections in zip(compared, others, found[1:], strict=True):
            exact = other.metadata.precision == 'float32'
            picture = str(info['img_id'])
            _note(comparison, picture, found[0], detections, candidates if exact else None)
    metrics = [test.evaluate(len(infos)) for test in tests]
    for comparison, own in zip(compared, metrics[1:], strict=True):
        comparison.metrics, comparison.exported = metrics[0], own
    return compared


class _Test:
    """A config's evaluators, fed by hand."""

    def __init__(self, cfg: Config) -> None:
        evaluators = cfg.test_evaluator
        evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
        self.metrics = [METRICS.build(one) for one in evaluators]
        for metric in self.metrics:
            metric.dataset_meta = dict(DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO)

    def add(self, info: dict, found: Detections) -> None:
        sample = dict(
            img_id=info['img_id'],
            ori_shape=(found.height, found.width),
            pred_instances=dict(
                bboxes=torch.from_numpy(found.boxes),
                scores=torch.from_numpy(found.scores),
                labels=torch.from_numpy(found.labels),
            ),
        )
        for metric in self.metrics:
            metric.process({}, [sample])

    def evaluate(self, size: int) -> dict[str, float]:
        return {
            key: float(value)
            for metric in self.metrics
            for key, value in metric.evaluate(size).items()
        }


def _note(
    comparison: Comparison,
    picture: str,
    found: Detections,
    other: Detections,
    candidates: Callable[[], Candidates] | None,
) -> None:
    pairs = match(found, other)
    comparison.detections += len(found)
    lone = len(found) + len(other) - 2 * len(pairs)
    if lone and candidates is not None:
        chosen = candidates()
        own, theirs = (_places(chosen, one) for one in (found, other))
        wrong, flips = explain(chosen, *(_mask(len(chosen.found), one) for one in (own, theirs)))
        strange = len(found) - len(own) + len(other) - len(theirs)  # no candidates at all
        comparison.unmatched += int(wrong.sum()) + strange
        comparison.flips += [(picture, flip) for flip in flips]
    else:
        comparison.unmatched += lone
    for mine, its in pairs:
        box = np.abs(found.boxes[mine] - other.boxes[its]).max()
        score = abs(found.scores[mine] - other.scores[its])
        comparison.box_difference = max(comparison.box_difference, float(box))
        comparison.score_difference = max(comparison.score_difference, float(score))


def _places(candidates: Candidates, found: Detections) -> np.ndarray:
    """Which candidates were found; fewer than there are detections where some are none."""
    shown = np.flatnonzero(candidates.shown)
    pairs = match(candidates.found.select(shown), found)
    return shown[[place for place, _ in pairs]]


def _mask(count: int, places: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[places] = True
    return mask


def _candidates(detector, image: np.ndarray) -> Candidates:
    """What NMS of a checkpoint chooses from, with what rounding may add at ``score_thr``."""
    head = detector.model.bbox_head
    test_cfg = head.test_cfg
    usual = dict(test_cfg)
    nms = usual.get('nms') if getattr(head, 'needs_nms', True) else None
    # YOLOX's inference heeds no limit
    limit = None if isinstance(head, YOLOXHead) else usual.get('max_per_img')
    found = []
    try:
        for change in (-SCORE_ROUNDING, SCORE_ROUNDING):
            score_thr = usual.get('score_thr', 0) + change
            test_cfg.update(nms=None, max_per_img=ALL, clip_detections=False, score_thr=score_thr)
            found += detector.detect([detector.prepare(image)])
    finally:
        test_cfg.clear()
        test_cfg.update(usual)
    lax, strict = found
    boxes, shown = lax.boxes, np.ones(len(lax), bool)
    if usual.get('clip_detections', False):
        clipped = boxes.clip(0, np.float32([lax.width, lax.height] * 2))
        shown = (clipped[:, 2:] > clipped[:, :2]).all(1)
        lax = replace(lax, boxes=clipped)
    # the same arithmetic gave both, digit by digit
    sure = {(box.tobytes(), score) for box, score in zip(strict.boxes, strict.scores, strict=True)}
    rows = zip(boxes, lax.scores, strict=True)
    doubtful = np.array([(box.tobytes(), score) not in sure for box, score in rows], bool)
    return Candidates(
        lax,
        boxes,
        shown,
        doubtful,
        np.inf if nms is None else float(nms.get('iou_threshold', 0.5)),
        bool(nms and nms.get('class_agnostic', False)),
        limit,
    )


def match(found: Detections, other: Detections) -> list[tuple[int, int]]:
    """Pairs of detections that are the same within the tolerances, one to one.

    As sets, for rounding may swap two whose scores are next to each other.
    """
    apart = np.abs(found.boxes[:, None] - other.boxes[None]).max(-1)
    apart[found.labels[:, None] != other.labels] = np.inf
    apart[np.abs(found.scores[:, None] - other.scores) > SCORE_TOLERANCE] = np.inf
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0)
    far = apart > np.maximum(BOX_TOLERANCE, SIDE_TOLERANCE * sides)[:, None]
    rows, columns = linear_sum_assignment(np.where(far, 1e3, apart))
    return [pair for pair in zip(rows.tolist(), columns.tolist(), strict=True) if not far[pair]]
