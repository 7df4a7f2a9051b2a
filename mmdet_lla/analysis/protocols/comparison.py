"""Steps from CrowdHuman's metrics to those of other evaluations, rule by rule."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path

from .rules import ProtocolEvaluator, Rules
from .toolkits import TOOLKITS, Task, Toolkit

#: Description of each rule where it differs from CrowdHuman's.
DESCRIPTIONS: dict[str, Callable[[Rules], str]] = {
    'clip': lambda rules: 'Boxes are not clipped to the image; CrowdHuman clips all of them.',
    'inclusive': lambda rules: (
        'A box includes its right and bottom pixel, so its sides are one pixel longer.'
    ),
    'height': lambda rules: (
        f'Only gts at least {rules.height[0]:g} px tall count; shorter ones are ignore regions.'
    ),
    'visible': lambda rules: (
        f'Only gts of which at least {100 * rules.visible[0]:g} % is visible count; others are '
        'ignore regions.'
    ),
    'height_margin': lambda rules: (
        f'Detections shorter than {rules.height[0]:g} / {rules.height_margin:g} px are excluded.'
    ),
    'aspect_ratio': lambda rules: (
        f'Every detection and every counted gt gets a width of {rules.aspect_ratio:g} times its '
        'height.'
    ),
    'max_dets': lambda rules: f'Only the {rules.max_dets} best detections of an image count.',
    'iou_thrs': lambda rules: (
        f'Metrics are the mean over {len(rules.iou_thrs)} IoU thresholds, {rules.iou_thrs[0]:g} to '
        f'{rules.iou_thrs[-1]:g}; CrowdHuman uses only 0.5.'
    ),
    'at_threshold': lambda rules: (
        'An overlap equal to the threshold is enough; CrowdHuman requires more.'
    ),
    'later_of_equals': lambda rules: 'Of gts with equal IoU a detection takes the last one.',
    'second_choice': lambda rules: (
        'A detection whose best gt is taken is a false positive; CrowdHuman gives it the best gt '
        'that is free, which matters in crowds.'
    ),
    'ignore': lambda rules: (
        'A detection is excused by its IoU with an ignore region; CrowdHuman uses the fraction of '
        'the detection inside, so that one person in a large region is excused.'
    ),
    'area': lambda rules: {
        'envelope': 'AP is the whole area under the highest precision at any higher recall; '
        'CrowdHuman uses trapezoids under precision itself, and none before the first detection.',
        '11 points': 'AP is the mean of the highest precision from each of 11 recalls on; '
        'CrowdHuman uses trapezoids under precision itself.',
        '101 points': 'AP is the mean of the highest precision from each of 101 recalls on; '
        'CrowdHuman uses trapezoids under precision itself.',
    }[rules.area],
    'read': lambda rules: (
        'The miss rate is read at the last detection with at most the reference number of false '
        'positives; CrowdHuman reads it at the first one that reaches the number.'
    ),
    'decimals': lambda rules: f'Metrics are rounded to {rules.decimals} decimals.',
}
#: Least difference that is shown, a fraction of 1: half of a hundredth of a percent.
MIN_SHOWN = 5e-5
#: Rules that do not affect a metric.
UNRELATED: dict[str, tuple[str, ...]] = {'AP': ('read',), 'MR': ('area',)}


@dataclass(frozen=True)
class Step:
    """One rule on the way from CrowdHuman's evaluation to another.

    Attributes:
        rule (str): Field of ``Rules``.
        description (str): The rule in words.
        value (float): The metric with this rule and those before it.
        change (float): Difference to the metric with those before it.
        without (float): The metric of the other evaluation without this rule alone.
    """

    rule: str
    description: str
    value: float
    change: float
    without: float

    def matters(self, final: float) -> bool:
        """Tell whether the rule changes the final metric visibly, alone or after the others."""
        return max(abs(self.change), abs(self.without - final)) > MIN_SHOWN


@dataclass(frozen=True)
class Row:
    """Result of one evaluation.

    Attributes:
        name (str): Name of the evaluation.
        values (dict[str, float]): Metrics by its own code, fractions of 1; empty if it failed.
        failure (str): Reason of the failure.
        start (dict[str, float]): Metrics by CrowdHuman's rules.
        steps (dict[str, list[Step]]): By metric, the steps from there.
        rest (dict[str, float]): By metric, the difference of its own code to the last step.
    """

    name: str
    values: dict[str, float]
    failure: str
    start: dict[str, float]
    steps: dict[str, list[Step]]
    rest: dict[str, float]


def compare(
    task: Task,
    toolkits: Sequence[Toolkit] = TOOLKITS,
    progress: Callable[[Sequence[Toolkit]], Iterable[Toolkit]] = iter,
) -> list[Row]:
    """Evaluate with each toolkit's own code and under its rules.

    Args:
        task (Task): Annotations and detections.
        toolkits (Sequence[Toolkit]): Defaults to all.
        progress (Callable): Wraps the iteration over toolkits, for a progress bar.

    Returns:
        list[Row]: One for each set of rules; a failed one names the reason.
    """
    evaluator = ProtocolEvaluator(task.annotations, task.detections)
    crowdhuman = evaluator.evaluate(Rules())
    rows = []
    for toolkit in progress(toolkits):
        failure, results = '', {}
        try:
            results = toolkit.evaluate(task)
        except Exception as error:  # third-party code; the other results are still wanted
            failure = describe_error(error)
        for name, rules in toolkit.rules.items():
            values = {m: value for m, value in results.get(name, {}).items() if isfinite(value)}
            not_finite = results.get(name, {}).keys() - values.keys()
            if not_finite:
                failure = f'{", ".join(sorted(not_finite))} is not a number'
            metrics = [metric for metric in toolkit.explained if metric in values]
            last = evaluator.evaluate(rules) if metrics else {}
            rows.append(
                Row(
                    name,
                    values,
                    failure,
                    {metric: crowdhuman[metric] for metric in metrics},
                    {metric: find_steps(evaluator, rules, metric) for metric in metrics},
                    {metric: values[metric] - last[metric] for metric in metrics},
                )
            )
    return rows


def find_steps(evaluator: ProtocolEvaluator, rules: Rules, metric: str) -> list[Step]:
    """Apply one rule after the other, in the order of the fields of ``Rules``."""
    default = Rules()
    names = [
        one.name
        for one in fields(Rules)
        if getattr(rules, one.name) != getattr(default, one.name)
        and one.name not in UNRELATED.get(metric, ())
    ]
    steps, current = [], default
    last = evaluator.evaluate(current)[metric]
    for name in names:
        current = replace(current, **{name: getattr(rules, name)})
        value = evaluator.evaluate(current)[metric]
        without = evaluator.evaluate(replace(rules, **{name: getattr(default, name)}))[metric]
        steps.append(Step(name, DESCRIPTIONS[name](rules), value, value - last, without))
        last = value
    return steps


def describe_error(error: BaseException) -> str:
    """Describe an exception with its location, also if it has no message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = (
        f'{frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno}' if frames else ''
    )
    return f'{type(error).__name__} in {where}: {str(error) or "without a message"}'
