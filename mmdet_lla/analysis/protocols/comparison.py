"""From CrowdHuman's number to that of another evaluation, rule by rule."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path

from .rules import Judge, Rules
from .toolkits import TOOLKITS, Task, Toolkit

#: What a rule says, where it is not CrowdHuman's; each has the rules that it is one of.
SENTENCES: dict[str, Callable[[Rules], str]] = {
    'clip': lambda rules: 'Boxes are not cut to the picture; CrowdHuman cuts all of them.',
    'inclusive': lambda rules: (
        'A box holds its right and lower pixel, so its sides are one pixel longer.'
    ),
    'height': lambda rules: (
        f'Only people at least {rules.height[0]:g} px tall count; shorter ones are ignore regions.'
    ),
    'visible': lambda rules: (
        f'Only people of whom at least {100 * rules.visible[0]:g} % is visible count; the others '
        'are ignore regions.'
    ),
    'height_margin': lambda rules: (
        f'Detections shorter than {rules.height[0]:g} / {rules.height_margin:g} px are left out.'
    ),
    'aspect_ratio': lambda rules: (
        f'Every detection, and every person who counts, gets a width of {rules.aspect_ratio:g} '
        'times its height.'
    ),
    'max_dets': lambda rules: f'Only the {rules.max_dets} best detections of a picture count.',
    'iou_thrs': lambda rules: (
        f'The mean over {len(rules.iou_thrs)} IoU thresholds, {rules.iou_thrs[0]:g} to '
        f'{rules.iou_thrs[-1]:g}; CrowdHuman takes 0.5 alone.'
    ),
    'at_threshold': lambda rules: (
        'An overlap of exactly the threshold is enough; CrowdHuman asks for more.'
    ),
    'later_of_equals': lambda rules: 'Of people with equal IoU a detection takes the last one.',
    'second_choice': lambda rules: (
        'A detection whose best person is taken is a false alarm; CrowdHuman gives it the best '
        'person who is still free, which matters in crowds.'
    ),
    'ignore': lambda rules: (
        'A detection is excused by the IoU with an ignore region; CrowdHuman asks which part of '
        'it lies inside, so that one person in a large region is excused.'
    ),
    'area': lambda rules: {
        'envelope': 'AP is the whole area under the highest precision at any higher recall; '
        'CrowdHuman takes trapezoids under precision itself, and none before the first detection.',
        '11 points': 'AP is the mean of the highest precision from each of 11 recalls on; '
        'CrowdHuman takes trapezoids under precision itself.',
        '101 points': 'AP is the mean of the highest precision from each of 101 recalls on; '
        'CrowdHuman takes trapezoids under precision itself.',
    }[rules.area],
    'read': lambda rules: (
        'The miss rate is read at the last detection at or below a number of false positives; '
        'CrowdHuman reads it at the first one that reaches the number.'
    ),
    'decimals': lambda rules: f'Numbers are rounded to {rules.decimals} places.',
}
#: Least difference that is shown, a fraction of 1: half of a hundredth of a percent.
SHOWN = 5e-5
#: Rules that one number knows nothing of.
NOT_OF: dict[str, tuple[str, ...]] = {'AP': ('read',), 'MR': ('area',)}


@dataclass(frozen=True)
class Step:
    """One rule on the way from CrowdHuman's evaluation to another.

    Attributes:
        rule (str): Field of ``Rules``.
        sentence (str): What it says.
        value (float): The number with this rule and those before it.
        change (float): What it adds to the number with those before it.
        without (float): The other evaluation's number without this rule alone.
    """

    rule: str
    sentence: str
    value: float
    change: float
    without: float

    def matters(self, number: float) -> bool:
        """Whether the rule shows, by itself or with the others, where their number is this."""
        return max(abs(self.change), abs(self.without - number)) > SHOWN


@dataclass(frozen=True)
class Row:
    """What one evaluation says.

    Attributes:
        name (str): Of the evaluation.
        values (dict[str, float]): Numbers by its own code, fractions of 1; empty if it failed.
        failure (str): Why it has none.
        start (dict[str, float]): By number, that of CrowdHuman's rules.
        steps (dict[str, list[Step]]): By number, the way from there.
        rest (dict[str, float]): By number, what is left between the last step and its own code.
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
    watch: Callable[[Sequence[Toolkit]], Iterable[Toolkit]] = iter,
) -> list[Row]:
    """Evaluate by each toolkit's own code and by its rules.

    Args:
        task (Task): What is evaluated.
        toolkits (Sequence[Toolkit]): By which. Defaults to all.
        watch (Callable): Hands toolkits on, for a progress bar.

    Returns:
        list[Row]: One for each set of rules; one that could not be evaluated says why.
    """
    judge = Judge(task.annotations, task.detections)
    rows = []
    for toolkit in watch(toolkits):
        failure, found = '', {}
        try:
            found = toolkit.evaluate(task)
        except Exception as error:  # other people's code; the others' numbers are still wanted
            failure = describe(error)
        for name, rules in toolkit.rules.items():
            values = {
                number: value for number, value in found.get(name, {}).items() if isfinite(value)
            }
            unknown = found.get(name, {}).keys() - values.keys()
            if unknown:
                failure = f'{", ".join(sorted(unknown))} is no number'
            names = [number for number in toolkit.explained if number in values]
            ways = {number: steps_to(judge, rules, number) for number in names}
            rows.append(
                Row(
                    name,
                    values,
                    failure,
                    {number: judge.numbers(Rules())[number] for number in names},
                    ways,
                    {number: values[number] - judge.numbers(rules)[number] for number in names},
                )
            )
    return rows


def steps_to(judge: Judge, rules: Rules, number: str) -> list[Step]:
    """One rule after the other, in the order of the fields of ``Rules``."""
    plain = Rules()
    names = [
        one.name
        for one in fields(Rules)
        if getattr(rules, one.name) != getattr(plain, one.name)
        and one.name not in NOT_OF.get(number, ())
    ]
    steps, now = [], plain
    last = judge.numbers(now)[number]
    for name in names:
        now = replace(now, **{name: getattr(rules, name)})
        value = judge.numbers(now)[number]
        without = judge.numbers(replace(rules, **{name: getattr(plain, name)}))[number]
        steps.append(Step(name, SENTENCES[name](rules), value, value - last, without))
        last = value
    return steps


def describe(error: BaseException) -> str:
    """An exception in words, also one that brings none."""
    place = traceback.extract_tb(error.__traceback__)
    where = f'{place[-1].name}, {Path(place[-1].filename).name}:{place[-1].lineno}' if place else ''
    return f'{type(error).__name__} in {where}: {str(error) or "without a message"}'
