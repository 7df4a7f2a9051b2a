"""One page about what is wrong with a detector, or with several side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ...evaluation.crowd import GROUPS
from ..page import render
from ..statistics import resample_images
from . import plots
from .kinds import FALSE_ALARMS, MEANINGS, MISSES, Errors, find_errors
from .pictures import most_costly
from .prices import GROUPS as GROUPS_OF_KINDS
from .prices import Price, base_metrics, price_errors
from .thresholds import Operating, best_thresholds, calibration, operating_points


@dataclass(frozen=True)
class Analysis:
    """All that is said of one detector.

    Attributes:
        name (str): Of the detector.
        errors (Errors): Each of them.
        metrics (dict[str, float]): AP, MR and JI, fractions of 1.
        prices (list[Price]): Of each kind.
        points (list[Operating]): Numbers over the score threshold.
        best (dict[str, dict[str, float]]): The best threshold by each of JI, F1, counting error.
        calibration (dict): Of the scores.
        misses_by (dict[str, dict[str, dict[str, int]]]): By trait and group, misses of each kind,
            and ``people``.
    """

    name: str
    errors: Errors
    metrics: dict[str, float]
    prices: list[Price]
    points: list[Operating]
    best: dict[str, dict[str, float]]
    calibration: dict
    misses_by: dict[str, dict[str, dict[str, int]]]


def analyze(
    name: str,
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    iou_thr: float = 0.5,
    score_thr: float | None = None,
    raw: Sequence[CrowdDetections] | None = None,
    num_draws: int = 50,
) -> Analysis:
    """Find and price the errors of a detector.

    Args:
        name (str): Of the detector.
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture.
        detections (Sequence[CrowdDetections]): Of the same pictures in the same order.
        iou_thr (float): Defaults to 0.5.
        score_thr (float, optional): Detections of at least this score are shown. Defaults to the
            best by JI.
        raw (Sequence[CrowdDetections], optional): What came before NMS.
        num_draws (int): Draws of pictures behind the intervals. Defaults to 50.
    """
    draws = resample_images(len(annotations), num_draws)
    errors = find_errors(annotations, detections, 0.0 if score_thr is None else score_thr, iou_thr)
    best = best_thresholds(errors.pairs, errors.matches, draws)
    if score_thr is None:
        score_thr = best['JI']['threshold']
    errors = find_errors(annotations, detections, score_thr, iou_thr, raw)
    return Analysis(
        name,
        errors,
        base_metrics(errors),
        price_errors(errors, draws),
        operating_points(errors.pairs, errors.matches),
        best,
        calibration(errors.matches),
        _misses_by(errors, annotations),
    )


def _misses_by(
    errors: Errors, annotations: Sequence[CrowdAnnotation]
) -> dict[str, dict[str, dict[str, int]]]:
    traits = {
        'height': lambda a: a.boxes[:, 3] - a.boxes[:, 1],
        'crowded': CrowdAnnotation.crowdedness,
        'visible': lambda a: a.visible,
    }
    found: dict[str, dict[str, dict[str, int]]] = {}
    for trait, of in traits.items():
        values = np.concatenate([np.zeros(0), *(of(a)[~a.ignored] for a in annotations)])
        if np.isnan(values).all():
            continue
        edges = GROUPS[trait]
        found[trait] = {}
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            people = (values >= low) & ((values <= high) if high == edges[-1] else (values < high))
            counts = errors.miss_counts(people)
            found[trait][f'{low:g} to {high:g}'] = dict(people=int(people.sum()), **counts)
    return found


def price_differences(analyses: Sequence[Analysis]) -> dict[str, list[Price]]:
    """How much more each kind costs the others than it costs the first, with intervals.

    The intervals are those of the difference on the same draws of pictures.
    """
    first, *others = analyses
    return {
        one.name: [_less(price, base) for price, base in zip(one.prices, first.prices, strict=True)]
        for one in others
    }


def _less(price: Price, base: Price) -> Price:
    gain = {metric: price.gain[metric] - base.gain[metric] for metric in price.gain}
    return Price(price.kind, price.metrics, gain, price.drawn - base.drawn)


def write_json(path: Path, analyses: Sequence[Analysis]) -> None:
    """Write ``errors.json``: everything the page says, by detector."""
    content = {
        one.name: dict(
            metrics=one.metrics,
            score_threshold=one.errors.score_thr,
            iou_threshold=one.errors.iou_thr,
            false_alarms=one.errors.alarm_counts(),
            misses=one.errors.miss_counts(),
            prices=[price.as_dict() for price in one.prices],
            operating_points=[asdict(point) for point in one.points],
            best_thresholds=one.best,
            calibration=one.calibration,
            misses_by=one.misses_by,
            costly_pictures=[asdict(picture) for picture in most_costly(one.errors)],
        )
        for one in analyses
    }
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def write_report(
    path: Path,
    analyses: Sequence[Analysis],
    differences: Mapping[str, list[Price]],
    pictures: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]],
    whole: Mapping[str, Sequence[str]],
    command: str,
) -> None:
    """Write the page, one file with everything in it.

    Args:
        path (Path): Where.
        analyses (Sequence[Analysis]): One a detector, the first is what others are compared with.
        differences (Mapping[str, list[Price]]): By name of the others, prices less those of the
            first.
        pictures (Mapping): By detector and kind, address and caption of the worst.
        whole (Mapping): By detector, addresses of what ``most_costly`` names; may be empty.
        command (str): How it was made.
    """
    page = render(
        'errors.html',
        costly={one.name: most_costly(one.errors) for one in analyses},
        whole=whole,
        analyses=analyses,
        differences=differences,
        pictures=pictures,
        meanings={**MEANINGS, **dict.fromkeys(GROUPS_OF_KINDS, '')},
        false_alarms=FALSE_ALARMS,
        misses=MISSES,
        figures=dict(
            thresholds=plots.thresholds(analyses), calibration=plots.calibrations(analyses)
        ),
        command=command,
    )
    path.write_text(page, encoding='utf-8')
