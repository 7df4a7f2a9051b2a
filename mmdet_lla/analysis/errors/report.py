"""Error analysis of one or several detectors: load, compute, report."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...evaluation.annotations import BOX_KEYS, CrowdAnnotation, CrowdDetections, load_odgt
from ...evaluation.crowd import ATTRIBUTE_EDGES, compute_attributes, group_by_edges
from ...utils.files import atomic_path, check_outputs, unique_names
from ..figures import Style, data_uri, plot_style, to_svg
from ..inputs import find_images, read_aligned_detections
from ..reports import render, write_results
from ..statistics import resample_images
from .images import WorstImage, draw_examples, draw_worst_images, find_worst_images
from .impact import COMBINED, Impact, compute_impacts, compute_metrics
from .thresholds import (
    OperatingPoint,
    compute_calibration,
    compute_operating_points,
    find_best_thresholds,
)
from .types import DESCRIPTIONS, FN_TYPES, FP_TYPES, Errors, find_errors

#: Plotted over the score threshold.
PLOTTED = ('JI', 'F1', 'precision', 'recall', 'false_positives', 'counting_error')


@dataclass(frozen=True)
class ErrorAnalysis:
    """Error analysis of one detector.

    Attributes:
        name (str): Name of the detector.
        errors (Errors): Every error.
        metrics (dict[str, float]): AP, MR and JI, fractions of 1.
        impacts (list[Impact]): Impact of each error type.
        points (list[OperatingPoint]): Metrics over the score threshold.
        best (dict[str, dict[str, float]]): Best threshold by each of JI, F1 and counting error.
        calibration (dict): Precision over the score.
        fns_by_group (dict[str, dict[str, dict[str, int]]]): By attribute and group, ``gts`` and
            the false negatives of each type.
        worst_images (list[WorstImage]): Images with the most errors.
        examples (dict[str, list[tuple[str, str]]]): Crops of each type, if there are images.
        drawn (list[str]): The drawn ``worst_images``, if there are images.
    """

    name: str
    errors: Errors
    metrics: dict[str, float]
    impacts: list[Impact]
    points: list[OperatingPoint]
    best: dict[str, dict[str, float]]
    calibration: dict
    fns_by_group: dict[str, dict[str, dict[str, int]]]
    worst_images: list[WorstImage]
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    drawn: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict for JSON."""
        return dict(
            metrics=self.metrics,
            score_threshold=self.errors.score_thr,
            iou_threshold=self.errors.iou_thr,
            false_positives=self.errors.count_fps(),
            false_negatives=self.errors.count_fns(),
            impacts=[impact.to_dict() for impact in self.impacts],
            operating_points=[asdict(point) for point in self.points],
            best_thresholds=self.best,
            calibration=self.calibration,
            false_negatives_by_group=self.fns_by_group,
            worst_images=[asdict(image) for image in self.worst_images],
        )


def analyze(
    ann_file: str | Path,
    detections: Mapping[str, str | Path] | Sequence[str | Path] | str | Path,
    out_dir: str | Path | None = None,
    *,
    img_dir: str | Path | None = None,
    raw: str | Path | None = None,
    box: str = 'body',
    person: int | None = None,
    iou_thr: float = 0.5,
    score_thr: float | None = None,
    num_samples: int = 50,
    num_examples: int = 6,
    command: str = '',
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[ErrorAnalysis]:
    """Find the errors of detectors, the impact of each error type and the best score threshold.

    Args:
        ann_file (str | Path): Ground truth in CrowdHuman's ``.odgt`` format.
        detections (Mapping | Sequence | str | Path): Files of detections (``.pkl``, ``.json``,
            ``.odgt``) by name of the detector, or without names. Others are compared with the
            first.
        out_dir (str | Path, optional): Where to write ``errors.json`` and ``report.html``. Defaults
            to writing nothing.
        img_dir (str | Path, optional): Directory of the images, to draw examples.
        raw (str | Path, optional): Detections of the first detector before NMS.
        box (str): 'body', 'visible' or 'head'. Defaults to 'body'.
        person (int, optional): Class of people in the files; see ``read_detections``.
        iou_thr (float): IoU threshold in (0.1, 1). Defaults to 0.5.
        score_thr (float, optional): Detections of at least this score count. Defaults to the best
            one by JI.
        num_samples (int): Bootstrap samples of images, for the intervals. Defaults to 50.
        num_examples (int): Drawn examples per error type. Defaults to 6.
        command (str): Command line to show in the report.
        progress (Callable): Wraps the iteration over detectors, for a progress bar.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: A file or an argument is invalid, or an output would overwrite an input.

    Example:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> ann_file, file = directory / 'gt.odgt', directory / 'results.json'
        >>> box = '{"tag": "person", "fbox": [0, 0, 10, 20]}'
        >>> _ = ann_file.write_text('{"ID": "a", "gtboxes": [' + box + ']}')
        >>> _ = file.write_text('[{"image_id": "a", "bbox": [0, 0, 10, 19], "score": 0.9}]')
        >>> (result,) = analyze(ann_file, file)
        >>> result.name, sum(result.errors.count_fns().values())
        ('results', 0)
    """
    if isinstance(detections, (str, Path)):
        detections = [detections]
    if not isinstance(detections, Mapping):
        paths = list(detections)
        detections = dict(zip(unique_names(paths), paths, strict=True))
    if out_dir is not None:
        inputs: list[str | Path] = [ann_file, *detections.values()]
        inputs += [path for path in (raw, img_dir) if path is not None]
        check_outputs([Path(out_dir) / name for name in ('errors.json', 'report.html')], inputs)
    annotations = load_odgt(str(ann_file), BOX_KEYS[box])
    image_paths = find_images((one.img_id for one in annotations), img_dir) if img_dir else None
    raw_detections = read_aligned_detections(annotations, raw, person=person) if raw else None
    analyses: list[ErrorAnalysis] = []
    for name, path in progress(detections.items()):
        analyses.append(
            analyze_detections(
                name,
                annotations,
                read_aligned_detections(annotations, path, person=person),
                iou_thr,
                score_thr,
                raw_detections if not analyses else None,
                num_samples,
                image_paths,
                num_examples,
            )
        )
    if out_dir is not None:
        content = {one.name: one.to_dict() for one in analyses}
        write_results(Path(out_dir), 'errors', content, render_report(analyses, command))
    return analyses


def analyze_detections(
    name: str,
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    iou_thr: float = 0.5,
    score_thr: float | None = None,
    raw: Sequence[CrowdDetections] | None = None,
    num_samples: int = 50,
    image_paths: Mapping[str | int, Path] | None = None,
    num_examples: int = 6,
) -> ErrorAnalysis:
    """Analyze the detections of one detector; arguments as in :func:`analyze`."""
    image_counts = resample_images(len(annotations), num_samples)
    errors = find_errors(annotations, detections, 0.0 if score_thr is None else score_thr, iou_thr)
    best = find_best_thresholds(errors.pairs, errors.matches, image_counts)
    score_thr = best['JI']['threshold'] if score_thr is None else score_thr
    errors = find_errors(annotations, detections, score_thr, iou_thr, raw)
    worst_images = find_worst_images(errors)
    inputs = (errors, annotations, detections)
    return ErrorAnalysis(
        name,
        errors,
        compute_metrics(errors),
        compute_impacts(errors, image_counts),
        compute_operating_points(errors.pairs, errors.matches),
        best,
        compute_calibration(errors.matches),
        _count_fns_by_group(errors, annotations),
        worst_images,
        draw_examples(*inputs, image_paths, num_examples) if image_paths else {},
        draw_worst_images(worst_images, *inputs, image_paths) if image_paths else [],
    )


def _count_fns_by_group(
    errors: Errors, annotations: Sequence[CrowdAnnotation]
) -> dict[str, dict[str, dict[str, int]]]:
    return {
        name: {
            f'{low:g} to {high:g}': dict(gts=int(mask.sum()), **errors.count_fns(mask))
            for (low, high), mask in group_by_edges(values, ATTRIBUTE_EDGES[name]).items()
        }
        for name, values in compute_attributes(annotations).items()
        if not np.isnan(values).all()
    }


def write_threshold(path: Path, threshold: float) -> Path:
    """Store a score threshold in the ``meta`` of a checkpoint.

    The name of a published checkpoint ends in its hash. Such a file is left unchanged, and a copy
    with the threshold is written beside it under its own hash.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: It cannot be read without executing code.
    """
    import torch

    from ...plain_checkpoints import read_checkpoint

    checkpoint = read_checkpoint(path)
    checkpoint.setdefault('meta', {})['score_threshold'] = threshold
    published = re.fullmatch(r'(.+-)([0-9a-f]{8,64})(\.pth)', path.name)
    if published and hashlib.sha256(path.read_bytes()).hexdigest().startswith(published[2]):
        part = path.with_name(f'{published[1]}threshold{published[3]}')
        with atomic_path(part) as file:
            torch.save(checkpoint, file)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()[: len(published[2])]
        return part.replace(path.with_name(f'{published[1]}{digest}{published[3]}'))
    with atomic_path(path) as file:
        torch.save(checkpoint, file)
    return path


def render_report(analyses: Sequence[ErrorAnalysis], command: str = '') -> str:
    """Render the HTML report."""
    first, *others = analyses
    return render(
        'errors.html',
        analyses=analyses,
        differences={
            one.name: [
                impact.minus(base) for impact, base in zip(one.impacts, first.impacts, strict=True)
            ]
            for one in others
        },
        descriptions={**DESCRIPTIONS, **dict.fromkeys(COMBINED, '')},
        fp_types=FP_TYPES,
        fn_types=FN_TYPES,
        figures=dict(
            thresholds=_plot_thresholds(analyses), calibration=_plot_calibration(analyses)
        ),
        command=command,
    )


def _plot_thresholds(analyses: Sequence[ErrorAnalysis]) -> str:
    """Plot each metric over the score threshold, one line per detector."""
    style = Style([one.name for one in analyses])
    with plot_style():
        figure = Figure(figsize=(11, 5.6), layout='constrained')
        panels = figure.subplots(2, 3, sharex=True).flat
    for axes, metric in zip(panels, PLOTTED, strict=True):
        for one in analyses:
            x = [point.threshold for point in one.points]
            y = [point.metrics[metric] for point in one.points]
            axes.plot(x, y, label=one.name, **style.line(one.name))
            if metric in one.best:
                axes.axvline(one.best[metric]['threshold'], color=style.color(one.name), alpha=0.3)
        axes.set(title=metric.replace('_', ' '), xlim=(0, 1), ylim=(0, None))
    for axes in figure.axes[3:]:
        axes.set_xlabel('score threshold')
    if len(analyses) > 1:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc='outside lower center', ncols=len(analyses), frameon=False
        )
    return data_uri(to_svg(figure), 'image/svg+xml')


def _plot_calibration(analyses: Sequence[ErrorAnalysis]) -> str:
    """Plot precision over the score, one line per detector."""
    style = Style([one.name for one in analyses])
    with plot_style():
        figure = Figure(figsize=(5, 4.4), layout='constrained')
        axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color='#bbbbbb', linestyle='--', linewidth=1)
    for one in analyses:
        axes.plot(
            one.calibration['score'],
            one.calibration['precision'],
            label=f'{one.name} (ECE {one.calibration["ece"]:.3f})',
            marker='o',
            **style.line(one.name),
        )
    axes.set(xlabel='score', ylabel='precision', xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc='upper left', frameon=False)
    return data_uri(to_svg(figure), 'image/svg+xml')
