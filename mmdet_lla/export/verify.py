"""The proof that an exported file finds what its checkpoint finds, on a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ..runtime import Detections, read_picture

#: What may differ: metrics, and boxes in pixels of the picture.
METRIC_TOLERANCE = 1e-4
BOX_TOLERANCE = 0.01
#: Scores of two detections that are taken for the same.
SCORE_TOLERANCE = 1e-3
#: Scores that differ by less than this from the one from which detections are kept may end on
#: either side of it, by rounding.
ROUNDING = 1e-5


@dataclass
class Comparison:
    """A detector beside the one it was made of.

    Attributes:
        pictures (int): How many they were tested on.
        metrics (dict[str, float]): Of the checkpoint.
        exported (dict[str, float]): Of the exported file.
        detections (int): Of the checkpoint.
        unmatched (int): Detections of either without one of the other within the tolerance.
        borderline (int): Those of them that are not counted, for their score is so close to
            ``score_thr`` that rounding decides.
        box_difference (float): Largest of those that have one, in pixels.
        score_difference (float): Largest of those that have one.
    """

    pictures: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    exported: dict[str, float] = field(default_factory=dict)
    detections: int = 0
    unmatched: int = 0
    borderline: int = 0
    box_difference: float = 0.0
    score_difference: float = 0.0

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
        borders = cache(partial(_borders, detector, image))
        for comparison, other, detections in zip(compared, others, found[1:], strict=True):
            exact = other.metadata.precision == 'float32'
            _note(comparison, found[0], detections, borders if exact else None)
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
    found: Detections,
    other: Detections,
    borders: Callable[[], tuple[Detections, Detections]] | None,
) -> None:
    pairs = match(found, other)
    comparison.detections += len(found)
    mine, theirs = np.array(pairs, int).reshape(-1, 2).T
    lone = found.select(np.setdiff1d(np.arange(len(found)), mine))
    other_lone = other.select(np.setdiff1d(np.arange(len(other)), theirs))
    borderline = 0
    if borders is not None and len(lone) + len(other_lone):
        stricter, laxer = borders()
        borderline = len(lone) - len(match(lone, stricter)) + len(match(other_lone, laxer))
    comparison.borderline += borderline
    comparison.unmatched += len(lone) + len(other_lone) - borderline
    for mine, theirs in pairs:
        box = np.abs(found.boxes[mine] - other.boxes[theirs]).max()
        score = abs(found.scores[mine] - other.scores[theirs])
        comparison.box_difference = max(comparison.box_difference, float(box))
        comparison.score_difference = max(comparison.score_difference, float(score))


def _borders(detector, image: np.ndarray) -> tuple[Detections, Detections]:
    """What a detector finds from a score that is higher, and lower, by what rounding may change."""
    test_cfg = detector.model.bbox_head.test_cfg
    usual = test_cfg.get('score_thr', 0)
    found = []
    try:
        for change in (ROUNDING, -ROUNDING):
            test_cfg['score_thr'] = usual + change
            found += detector.detect([detector.prepare(image)])
    finally:
        test_cfg['score_thr'] = usual
    return found[0], found[1]


def match(found: Detections, other: Detections) -> list[tuple[int, int]]:
    """Pairs of detections that are the same within the tolerances, one to one.

    As sets, for rounding may swap two whose scores are next to each other.
    """
    apart = np.abs(found.boxes[:, None] - other.boxes[None]).max(-1)
    apart[found.labels[:, None] != other.labels] = np.inf
    apart[np.abs(found.scores[:, None] - other.scores) > SCORE_TOLERANCE] = np.inf
    far = apart > BOX_TOLERANCE
    rows, columns = linear_sum_assignment(np.where(far, 1e3, apart))
    return [pair for pair in zip(rows.tolist(), columns.tolist(), strict=True) if not far[pair]]
