"""The rules of every evaluation give the metrics of its own code."""

from dataclasses import fields

import numpy as np
import pytest
from random_crowds import random_crowd, write_odgt

from mmdet_lla.analysis.protocols import ProtocolEvaluator, Rules, compare
from mmdet_lla.analysis.protocols.comparison import DESCRIPTIONS, describe_error, find_steps
from mmdet_lla.analysis.protocols.report import format_text
from mmdet_lla.analysis.protocols.toolkits import TOOLKITS, Task
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections, load_odgt

ROWS = [name for toolkit in TOOLKITS for name in toolkit.rules]


def detections_of(samples):
    return [
        CrowdDetections.create(
            one['img_id'],
            one['pred_instances']['bboxes'].numpy(),
            one['pred_instances']['scores'].numpy(),
            *one['ori_shape'],
        )
        for one in samples
    ]


def random_task(directory, seed):
    """Create equal scores, images without gts and images without detections."""
    records, samples = random_crowd(
        seed,
        num_images=1 + seed % 4,
        num_dets=(25, 60, 0)[seed % 3],
        ignored=(0.2, 0.9, 0)[seed % 3],
        score_steps=(None, 4)[seed % 2],
    )
    if seed % 4 == 3:
        records[0]['gtboxes'] = []
    path = write_odgt(directory / f'{seed}.odgt', records)
    return Task(load_odgt(path), detections_of(samples), path)


@pytest.mark.parametrize('seed', range(12))
def test_rules_come_to_the_numbers_of_the_evaluations_own_code(tmp_path, seed):
    rows = compare(random_task(tmp_path, seed))
    assert [row.name for row in rows] == ROWS
    for row in rows:
        for number, steps in row.steps.items():
            assert abs(row.rest[number]) < 1e-6, (row.name, number)
            changes = sum(step.change for step in steps)
            reached = row.start[number] + changes + row.rest[number]
            assert reached == pytest.approx(row.values[number], abs=1e-9)
        assert not row.failure or row.failure.rpartition(': ')[2].strip()
    explained = {row.name for row in rows if any(row.steps.values())}
    if seed % 3 != 2 and seed % 4 != 3:  # somebody is there and something detected
        assert explained == set(ROWS) - {'CrowdHuman'}
    assert all(row.name in format_text(rows) for row in rows)


def test_a_failing_evaluation_is_named_and_the_others_continue(tmp_path):
    records, samples = random_crowd(0, num_images=2)
    records[1]['gtboxes'] = []
    path = write_odgt(tmp_path / 'a.odgt', records)
    rows = {row.name: row for row in compare(Task(load_odgt(path), detections_of(samples), path))}
    assert 'crowdhuman_metric.py' in rows['CrowdHumanMetric (mmdet)'].failure
    assert not rows['COCO AP50, 100 detections'].failure
    assert rows['CrowdHuman'].values['AP'] > 0
    with pytest.raises(AssertionError) as info:
        raise AssertionError
    text = describe_error(info.value)
    assert text.startswith('AssertionError in test_a_failing_evaluation_is')
    assert text.endswith('without a message')


PERSON = [20, 20, 60, 120]


def create_evaluator(gts, boxes, regions=()):
    ignored = [False] * len(gts) + [True] * len(regions)
    gts = [*gts, *regions]
    scores = np.linspace(0.9, 0.8, len(boxes))
    return ProtocolEvaluator(
        [CrowdAnnotation.create('a', gts, ignored, np.ones(len(gts)))],
        [CrowdDetections.create('a', boxes, scores, 200, 200)],
    )


def test_every_rule_is_described():
    assert set(DESCRIPTIONS) == {one.name for one in fields(Rules)}
    evaluator = create_evaluator([PERSON], [PERSON])
    for toolkit in TOOLKITS:
        for rules in toolkit.rules.values():
            for metric in toolkit.explained:
                steps = find_steps(evaluator, rules, metric)
                assert all(step.description.endswith('.') for step in steps)
    (step,) = find_steps(evaluator, Rules(max_dets=7), 'AP')
    assert step.rule == 'max_dets' and '7 best' in step.description
    assert not step.matters(step.value)
