"""HTML report of a study, one self-contained file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..analysis.errors.types import DESCRIPTIONS as ERROR_MEANINGS
from ..analysis.figures import Style, data_uri, to_svg
from ..analysis.reports import render
from ..analysis.test_sets import LOWER_IS_BETTER, METRICS, TestSet
from ..utils.files import atomic_write
from . import plots
from .compare import (
    ERROR_TYPES,
    GROUP_METRICS,
    SIGNIFICANCES,
    Comparison,
    RunNumbers,
    RunResults,
    compare_errors,
    compare_runs,
    evaluate_groups,
    find_run_errors,
    known_attributes,
    significance,
)
from .gallery import draw_gallery, select_images
from .runs import DETECTIONS, Failure, Run, read_scalars
from .variants import Variant

MEANINGS = {
    'AP': 'average precision at IoU 0.5',
    'MR': 'log-average miss rate',
    'JI': 'Jaccard index',
    'recall': 'fraction of gts detected at any score',
}


def write_report(
    path: Path,
    variants: Sequence[Variant],
    runs: Sequence[Run],
    rows: Sequence[dict],
    diffs: dict[str, dict],
    failures: Sequence[Failure],
    command: str,
    num_samples: int = 1000,
) -> list[Comparison]:
    """Compare the finished runs and write the report.

    Args:
        path (Path): HTML file.
        variants (Sequence[Variant]): Configs, the baseline first.
        runs (Sequence[Run]): All runs of the study.
        rows (Sequence[dict]): At least one row of :func:`result_rows`.
        diffs (dict[str, dict]): Differences to the first config, by config and dotted key.
        failures (Sequence[Failure]): Failed runs.
        command (str): Command line of the study.
        num_samples (int): Bootstrap samples. Defaults to 1000.
    """
    configs, errors = _evaluate_runs(variants, runs)
    style = Style([variant.name for variant in variants])
    comparisons = compare_runs(
        configs,
        num_samples,
        track=lambda items: tqdm(items, desc='intervals', unit='run', dynamic_ncols=True),
    )
    content = dict(
        command=command,
        rows=rows,
        metrics=METRICS,
        meanings=MEANINGS,
        lower=LOWER_IS_BETTER,
        baseline=configs[0].name,
        comparisons=comparisons,
        significance=significance,
        num_images=len(configs[0].img_ids),
        num_samples=num_samples,
        num_gts=len(next(iter(configs[0].results.values())).main.gt_image),
        num_seeds={one.name: len(one.seeds) for one in configs},
        summary=_summarize_significance(comparisons),
        minutes=_training_minutes(rows),
        variants=variants,
        diffs=diffs,
        failures=failures,
        figures=_draw_figures(configs, comparisons, runs, style),
        gallery=_collect_gallery(runs, configs),
        commands=_collect_commands(runs),
        versions=_collect_versions(runs),
        caveats=_find_caveats(variants, runs, configs, comparisons),
        error_types=ERROR_TYPES,
        error_meanings=ERROR_MEANINGS,
        errors=compare_errors(errors),
    )
    with atomic_write(path) as file:
        file.write(render('ablation.html', **content))
    return comparisons


def _evaluate_runs(
    variants: Sequence[Variant], runs: Sequence[Run]
) -> tuple[list[RunResults], dict[str, dict[int, RunNumbers]]]:
    configs: list[RunResults] = []
    errors: dict[str, dict[int, RunNumbers]] = {}
    for variant in tqdm(variants, desc='evaluations', unit='config', dynamic_ncols=True):
        done = [run for run in runs if run.variant is variant and run.result() is not None]
        if not done:
            continue
        test_set = TestSet(variant.cfg)
        results, found = {}, {}
        for run in done:
            detections = test_set.read_detections(run.work_dir / DETECTIONS)
            results[run.seed] = test_set.evaluate(detections)
            found[run.seed] = find_run_errors(test_set, detections)
        configs.append(RunResults(variant.name, results))
        errors[variant.name] = found
    return configs, errors


def _summarize_significance(comparisons: Sequence[Comparison]) -> dict[str, dict[str, list[str]]]:
    """List the configs by metric and significance."""
    found: dict[str, dict[str, list[str]]] = {
        metric: {word: [] for word in SIGNIFICANCES} for metric in METRICS
    }
    for one in comparisons:
        for metric, difference in (one.differences or {}).items():
            found[metric][significance(metric, difference)].append(one.name)
    return found


def _training_minutes(rows: Sequence[dict]) -> dict[str, float]:
    times: dict[str, list[float]] = {}
    for row in rows:
        times.setdefault(row['config'], []).append(row['train_seconds'] / 60)
    return {name: float(np.mean(values)) for name, values in times.items()}


def _draw_figures(
    configs: Sequence[RunResults],
    comparisons: Sequence[Comparison],
    runs: Sequence[Run],
    style: Style,
) -> dict:
    """Return data URIs of the figures; those of groups by attribute and metric."""
    curves = _training_curves(runs)
    figures = dict(
        differences=plots.differences(comparisons, METRICS, configs[0].name, style),
        precision_recall=plots.precision_recall(configs, style),
        miss_rate=plots.miss_rate(configs, style),
        training=plots.training(curves, style) if curves else None,
    )
    group_figures: dict[str, dict[str, str]] = {}
    attributes = known_attributes(configs)
    with tqdm(total=len(attributes) * len(configs), desc='groups', dynamic_ncols=True) as bar:
        for attribute in attributes:
            groups = {}
            for one in configs:
                groups[one.name] = evaluate_groups(one, attribute)
                bar.update()
            group_figures[attribute] = {
                metric: _svg_uri(plots.by_group(groups, metric, attribute, style))
                for metric in GROUP_METRICS
            }
    uris = {name: figure and _svg_uri(figure) for name, figure in figures.items()}
    return dict(uris, groups=group_figures)


def _svg_uri(figure) -> str:
    return data_uri(to_svg(figure), 'image/svg+xml')


def _training_curves(runs: Sequence[Run]) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    curves: dict[str, list] = {}
    for run in runs:
        records = read_scalars(run.training_dir) if run.result() is not None else []
        if records:
            steps, losses = (
                np.array([record[key] for record in records], float) for key in ('step', 'loss')
            )
            curves.setdefault(run.variant.name, []).append((steps, losses))
    return curves


def _collect_gallery(runs: Sequence[Run], configs: Sequence[RunResults]) -> dict:
    """Draw assignments of the first seed; also return why a config has none."""
    seed = runs[0].seed
    img_ids = select_images(next(iter(configs[0].results.values())).annotations)
    images: dict = {img_id: [] for img_id in img_ids}
    missing = {}
    first_runs = [run for run in runs if run.seed == seed and run.result() is not None]
    for run in tqdm(first_runs, desc='assignments', unit='config', dynamic_ncols=True):
        try:
            paths = draw_gallery(run, img_ids)
        except ValueError as error:
            missing[run.variant.name] = str(error)
            continue
        if not paths:
            missing[run.variant.name] = 'its checkpoint was removed'
        for img_id, path in paths.items():
            images[img_id].append((run.variant.name, data_uri(path.read_bytes(), 'image/jpeg')))
    return dict(images=images, missing=missing, seed=seed)


def _collect_commands(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    return [
        (run.name, [shlex.join(command) for command in result['commands'].values()])
        for run in runs
        if (result := run.result()) is not None
    ]


def _collect_versions(runs: Sequence[Run]) -> dict[str, list[str]]:
    """List the distinct versions by package and part of the machine."""
    seen: dict[str, list[str]] = {}
    for run in runs:
        result = run.result()
        if result is None:
            continue
        found = dict(result['versions'], threads=result['threads'], gpus=result['gpus'])
        for name, value in found.items():
            values = seen.setdefault(name.replace('_', '-'), [])
            text = 'none' if value is None else str(value)
            if text not in values:
                values.append(text)
    return seen


def _find_caveats(
    variants: Sequence[Variant],
    runs: Sequence[Run],
    configs: Sequence[RunResults],
    comparisons: Sequence[Comparison],
) -> list[str]:
    """List what limits the conclusions."""
    found = []
    if variants[0].name not in {one.name for one in configs}:
        found.append(
            f'The baseline {variants[0].name} has no finished run; {configs[0].name} replaces it.'
        )
    fewest = min(len(one.seeds) for one in configs)
    if fewest < 3:
        few = ', '.join(one.name for one in configs if len(one.seeds) == fewest)
        number, consequence = {
            1: ('one seed', 'intervals cover image sampling only, and nothing is called better'),
            2: ('two seeds', 'intervals are wide'),
        }[fewest]
        found.append(f'Only {number} finished for {few}: {consequence}.')
    unfinished = [run.name for run in runs if run.result() is None]
    if unfinished:
        found.append(
            f'{len(unfinished)} of {len(runs)} runs are not finished: {"; ".join(unfinished)}.'
        )
    unpaired = [one.name for one in comparisons[1:] if one.differences is None]
    if unpaired:
        found.append(
            f'Without common seeds or images, not compared with the baseline: '
            f'{", ".join(unpaired)}.'
        )
    compared = sum(one.differences is not None for one in comparisons)
    if compared > 1:
        found.append(
            f'{compared} configs are compared by {len(METRICS)} metrics, without a correction for '
            f'multiple comparisons: by chance alone, {compared / 20:.2g} of the {compared} appear '
            'different in a given metric.'
        )
    for name, values in _collect_versions(runs).items():
        if len(values) > 1 and name in ('commit', 'torch', 'mmdet', 'mmdet-lla', 'cpu', 'gpu'):
            found.append(f'Runs used different versions of {name}: {", ".join(values)}.')
    return found
