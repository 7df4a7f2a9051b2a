"""One HTML file that says what a study found, with all it takes to believe it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..analysis.errors.kinds import MEANINGS as KIND_MEANINGS
from ..analysis.figures import Style, data_uri, to_svg
from ..analysis.page import render
from ..analysis.statistics import Estimate
from ..analysis.test_sets import METRICS, TestSet, load_detections
from . import plots
from .error_kinds import KINDS, RunErrors, errors_of, weigh_errors
from .evidence import (
    GROUP_METRICS,
    LOWER_IS_BETTER,
    VERDICTS,
    Evidence,
    Weighed,
    traits_of,
    verdict,
    weigh,
    weigh_groups,
)
from .gallery import choose_pictures, draw_gallery
from .runs import DETECTIONS, Run, write_text
from .study import Failure
from .training_curves import read_scalars
from .variants import Variant

MEANINGS = {
    'AP': 'average precision at IoU 0.5',
    'MR': 'log-average miss rate',
    'JI': 'Jaccard index',
    'recall': 'share of people found at any score',
}


def write_report(
    path: Path,
    variants: Sequence[Variant],
    runs: Sequence[Run],
    rows: Sequence[dict],
    differing: dict[str, dict],
    failures: Sequence[Failure],
    command: str,
    num_draws: int = 1000,
) -> list[Weighed]:
    """Weigh the runs that are done and write the report.

    Args:
        path (Path): Of the HTML file.
        variants (Sequence[Variant]): The baseline first.
        runs (Sequence[Run]): Of the study, done or not.
        rows (Sequence[dict]): What ``rows_of`` gives; at least one.
        differing (dict[str, dict]): What ``config_differences`` gives.
        failures (Sequence[Failure]): Runs that failed.
        command (str): How the study was called.
        num_draws (int): Of the bootstrap. Defaults to 1000.

    Returns:
        list[Weighed]: The numbers of the table, for those who want to go on with them.
    """
    evidence, errors = gather(variants, runs)
    style = Style([variant.name for variant in variants])
    weighed = weigh(
        evidence,
        num_draws,
        watch=lambda items: tqdm(items, desc='intervals', unit='run', dynamic_ncols=True),
    )
    content = dict(
        command=command,
        rows=rows,
        metrics=METRICS,
        meanings=MEANINGS,
        lower=LOWER_IS_BETTER,
        baseline=evidence[0].name,
        weighed=weighed,
        verdict=verdict,
        num_pictures=len(evidence[0].img_ids),
        num_draws=num_draws,
        num_people=len(next(iter(evidence[0].results.values())).main.gt_picture),
        num_seeds={one.name: len(one.seeds) for one in evidence},
        verdicts=_verdicts(weighed),
        minutes=_minutes(rows),
        variants=variants,
        differing=differing,
        failures=failures,
        figures=_figures(evidence, weighed, runs, style),
        gallery=_gallery(runs, evidence),
        commands=_commands(runs),
        versions=_versions(runs),
        caveats=_caveats(variants, runs, evidence, weighed),
        kinds=KINDS,
        kind_meanings=KIND_MEANINGS,
        errors=weigh_errors(errors),
    )
    write_text(path, render('ablation.html', **content))
    return weighed


def gather(
    variants: Sequence[Variant], runs: Sequence[Run]
) -> tuple[list[Evidence], dict[str, dict[int, RunErrors]]]:
    """Evaluations of the runs that are done, config by config, and their errors."""
    evidence: list[Evidence] = []
    errors: dict[str, dict[int, RunErrors]] = {}
    for variant in tqdm(variants, desc='evaluations', unit='config', dynamic_ncols=True):
        done = [run for run in runs if run.variant is variant and run.result() is not None]
        if done:
            tested = TestSet(variant.cfg)
            results = {}
            errors[variant.name] = found = {}
            for run in done:
                detections = load_detections(run.folder / DETECTIONS)
                results[run.seed] = tested.evaluate(detections)
                found[run.seed] = errors_of(tested, detections)
            evidence.append(Evidence(variant.name, results))
    return evidence, errors


def _verdicts(weighed: Sequence[Weighed]) -> dict[str, dict[str, list[str]]]:
    """By metric and verdict, the configs."""
    found: dict[str, dict[str, list[str]]] = {
        metric: {word: [] for word in VERDICTS} for metric in METRICS
    }
    for one in weighed:
        for metric, difference in (one.differences or {}).items():
            found[metric][verdict(metric, difference)].append(one.name)
    return found


def _minutes(rows: Sequence[dict]) -> dict[str, float]:
    """Mean minutes of a training, by config."""
    times: dict[str, list[float]] = {}
    for row in rows:
        times.setdefault(row['config'], []).append(row['train_seconds'] / 60)
    return {name: float(np.mean(some)) for name, some in times.items()}


def _figures(
    evidence: Sequence[Evidence],
    weighed: Sequence[Weighed],
    runs: Sequence[Run],
    style: Style,
) -> dict:
    """Addresses of the figures; those by group by trait and metric."""
    curves = _training_curves(runs)
    figures = dict(
        differences=plots.differences(weighed, METRICS, evidence[0].name, style),
        precision_recall=plots.precision_recall(evidence, style),
        miss_rate=plots.miss_rate(evidence, style),
        training=plots.training(curves, style) if curves else None,
    )
    groups_shown: dict[str, dict[str, str]] = {}
    traits = traits_of(evidence)
    with tqdm(total=len(traits) * len(evidence), desc='groups', dynamic_ncols=True) as bar:
        for trait in traits:
            groups = {}
            for one in evidence:
                groups[one.name] = weigh_groups(one, trait)
                bar.update()
            groups_shown[trait] = {
                metric: _address(plots.by_group(groups, metric, trait, style))
                for metric in GROUP_METRICS
            }
    shown = {name: figure and _address(figure) for name, figure in figures.items()}
    return dict(shown, groups=groups_shown)


def _address(figure) -> str:
    return data_uri(to_svg(figure), 'image/svg+xml')


def _training_curves(runs: Sequence[Run]) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    curves: dict[str, list] = {}
    for run in runs:
        records = read_scalars(run.training_folder) if run.result() is not None else []
        if records:
            curves.setdefault(run.variant.name, []).append(
                tuple(
                    np.array([record[key] for record in records], float) for key in ('step', 'loss')
                )
            )
    return curves


def _gallery(runs: Sequence[Run], evidence: Sequence[Evidence]) -> dict:
    """Pictures by ID, of each config that has one; and why some have none."""
    seed = runs[0].seed
    img_ids = choose_pictures(next(iter(evidence[0].results.values())).annotations)
    pictures: dict = {img_id: [] for img_id in img_ids}
    missing = {}
    firsts = [run for run in runs if run.seed == seed and run.result() is not None]
    for run in tqdm(firsts, desc='assignments', unit='config', dynamic_ncols=True):
        try:
            paths = draw_gallery(run, img_ids)
        except ValueError as error:
            missing[run.variant.name] = str(error)
            continue
        if not paths:
            missing[run.variant.name] = 'its checkpoint is gone'
        for img_id, path in paths.items():
            pictures[img_id].append((run.variant.name, data_uri(path.read_bytes(), 'image/jpeg')))
    return dict(pictures=pictures, missing=missing, seed=seed)


def _commands(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """By run, the lines that made it."""
    return [
        (run.name, [shlex.join(command) for command in result['commands'].values()])
        for run in runs
        if (result := run.result()) is not None
    ]


def _versions(runs: Sequence[Run]) -> dict[str, list[str]]:
    """By package or part of the machine, all that was seen, usually one."""
    seen: dict[str, list[str]] = {}
    for run in runs:
        result = run.result() or dict(versions={})
        found = dict(result['versions'])
        if found:
            found.update({name: result[name] for name in ('threads', 'gpus') if name in result})
        for name, value in found.items():
            values = seen.setdefault(name.replace('_', '-'), [])
            text = 'none' if value is None else str(value)
            if text not in values:
                values.append(text)
    return seen


def _caveats(
    variants: Sequence[Variant],
    runs: Sequence[Run],
    evidence: Sequence[Evidence],
    weighed: Sequence[Weighed],
) -> list[str]:
    """What a reader has to know before he believes the numbers."""
    found = []
    present = {one.name for one in evidence}
    seeds = {len(one.seeds) for one in evidence}
    if variants[0].name not in present:
        found.append(
            f'No run of the baseline {variants[0].name} is done; {evidence[0].name} takes '
            'its place.'
        )
    if min(seeds) == 1:
        alone = ', '.join(one.name for one in evidence if len(one.seeds) == 1)
        found.append(
            f'Only one seed is done of {alone}: intervals speak of the pictures and know '
            'nothing of the noise of training, so no verdict is given.'
        )
    elif min(seeds) == 2:
        two = ', '.join(one.name for one in evidence if len(one.seeds) == 2)
        found.append(
            f'Only two seeds are done of {two}: they tell little of the noise of '
            'training, so intervals are wide.'
        )
    undone = [run.name for run in runs if run.result() is None]
    if undone:
        found.append(f'{len(undone)} of {len(runs)} runs are not done: {"; ".join(undone)}.')
    unpaired = [one.name for one in weighed[1:] if one.differences is None]
    if unpaired:
        found.append(
            f'Not compared with the baseline, for lack of common seeds or because of '
            f'other test pictures: {", ".join(unpaired)}.'
        )
    compared = sum(one.differences is not None for one in weighed)
    if compared > 1:
        found.append(
            f'{compared} configs are compared by {len(METRICS)} metrics. Of intervals '
            'that hold the truth 19 times in 20, one in 20 does not: by chance alone, '
            f'{compared / 20:.2g} of the {compared} seem to differ in a given metric.'
        )
    for name, values in _versions(runs).items():
        if len(values) > 1 and name in ('commit', 'torch', 'mmdet', 'mmdet-lla', 'cpu', 'gpu'):
            found.append(f'The runs were not all made with the same {name}: {", ".join(values)}.')
    return found


def estimates(weighed: Sequence[Weighed]) -> dict[str, dict]:
    """The numbers of the table, ready for JSON."""

    def plain(some: dict[str, Estimate] | None) -> dict | None:
        return some and {
            metric: dict(value=one.value, low=one.low, high=one.high, num_seeds=one.num_seeds)
            for metric, one in some.items()
        }

    return {
        one.name: dict(
            means=plain(one.means),
            differences=plain(one.differences),
            verdicts=one.differences
            and {metric: verdict(metric, found) for metric, found in one.differences.items()},
        )
        for one in weighed
    }
