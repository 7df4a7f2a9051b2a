"""Every evaluation's own code and its rules say the same, and each rule is told by itself."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from random_crowds import random_crowd, write_odgt

from mmdet_lla.analysis.protocols import Judge, Rules, compare
from mmdet_lla.analysis.protocols.comparison import SENTENCES, describe, steps_to
from mmdet_lla.analysis.protocols.report import as_text
from mmdet_lla.analysis.protocols.toolkits import TOOLKITS, Task
from mmdet_lla.cli import compare_metrics
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections, load_odgt
from mmdet_lla.evaluation.crowd_metric import CrowdMetric

ROOT = Path(__file__).resolve().parents[2]
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


def random_task(folder, seed):
    """Equal scores, pictures with nobody, nothing detected: each in some of them."""
    records, samples = random_crowd(
        seed,
        num_pictures=1 + seed % 4,
        num_dets=(25, 60, 0)[seed % 3],
        ignored=(0.2, 0.9, 0)[seed % 3],
        score_steps=(None, 4)[seed % 2],
    )
    if seed % 4 == 3:
        records[0]['gtboxes'] = []
    path = write_odgt(folder / f'{seed}.odgt', records)
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
    assert all(row.name in as_text(rows) for row in rows)


def test_what_an_evaluation_cannot_do_is_told_and_the_others_go_on(tmp_path):
    records, samples = random_crowd(0, num_pictures=2)
    records[1]['gtboxes'] = []
    path = write_odgt(tmp_path / 'a.odgt', records)
    rows = {row.name: row for row in compare(Task(load_odgt(path), detections_of(samples), path))}
    assert 'crowdhuman_metric.py' in rows['CrowdHumanMetric (mmdet)'].failure
    assert not rows['COCO AP50, 100 detections'].failure
    assert rows['CrowdHuman'].values['AP'] > 0
    try:
        raise AssertionError
    except AssertionError as error:
        assert describe(error).startswith('AssertionError in test_what_an_evaluation_cannot_do')
        assert describe(error).endswith('without a message')


def scene(people, found, ignored=(), size=(200, 200)):
    boxes = [*people, *ignored]
    flags = [False] * len(people) + [True] * len(ignored)
    annotation = CrowdAnnotation.create('a', boxes, flags, np.ones(len(boxes)))
    boxes, scores = zip(*found, strict=True)
    return Judge([annotation], [CrowdDetections.create('a', boxes, np.array(scores, float), *size)])


PERSON = [20, 20, 60, 120]


def recall(judge, **rules):
    return judge.numbers(Rules(**rules))['recall']


def area(judge, **rules):
    return judge.numbers(Rules(area='envelope', **rules))['AP']


def test_a_taken_person_leaves_a_second_choice():
    other = [28, 20, 68, 120]
    judge = scene([PERSON, other], [(PERSON, 0.9), ([22, 20, 62, 120], 0.8)])
    assert recall(judge) == 1 and recall(judge, second_choice=False) == 0.5


def test_a_person_in_a_large_region_is_excused_by_its_share_alone():
    judge = scene([PERSON], [([150, 150, 160, 180], 0.9), (PERSON, 0.8)], [[100, 100, 200, 200]])
    assert area(judge) == 1 and area(judge, ignore='iou') == 0.5


def test_an_ignore_region_competes_where_there_is_no_second_choice():
    region = [20, 20, 60, 124]
    judge = scene([PERSON], [([20, 20, 60, 123], 0.9)], [region])
    assert recall(judge, ignore='iou') == 1
    assert recall(judge, ignore='iou', second_choice=False) == 0


def test_thresholds_caps_sizes_and_shapes():
    half = [20, 20, 60, 70]  # an IoU of exactly a half
    judge = scene([PERSON], [(half, 0.9)])
    assert recall(judge) == 0 and recall(judge, at_threshold=True) == 1
    judge = scene([PERSON], [([150, 150, 160, 180], 0.9), (PERSON, 0.8)])
    assert recall(judge, max_dets=1) == 0 and recall(judge, max_dets=2) == 1
    assert judge.numbers(Rules(height=(101, np.inf)))['MR'] == 1  # nobody is to be found
    assert area(judge, height=(100, np.inf)) == 0.5
    assert area(judge, height=(100, np.inf), height_margin=1.25) == 1
    wide = scene([PERSON], [([0, 20, 80, 121], 0.9)])
    assert recall(wide) == 0 and recall(wide, aspect_ratio=0.41) == 1
    outside = scene([[-80, 20, 40, 120]], [([0, 20, 40, 120], 0.9)])
    assert recall(outside) == 1 and recall(outside, clip=False) == 0
    thin = scene([[10, 10, 12, 50]], [([10, 10, 11, 50], 0.9)])
    assert recall(thin) == 0 and recall(thin, inclusive=True) == 1
    assert judge.numbers(Rules(iou_thrs=(0.5, 0.75)))['recall'] == 1


def test_the_miss_rate_is_read_on_either_side_of_a_number():
    # the curve: one false alarm a picture, then everybody
    judge = scene([PERSON], [([150, 150, 160, 180], 0.9), (PERSON, 0.8)])
    assert judge.numbers(Rules(read='reached'))['MR'] == 1
    assert judge.numbers(Rules(read='below'))['MR'] == 0  # at exactly one false alarm


def test_every_switch_has_its_sentence():
    assert set(SENTENCES) == {one.name for one in fields(Rules)}
    judge = scene([PERSON], [(PERSON, 0.9)])
    for toolkit in TOOLKITS:
        for rules in toolkit.rules.values():
            for number in toolkit.explained:
                assert all(step.sentence.endswith('.') for step in steps_to(judge, rules, number))
    (step,) = steps_to(judge, replace(Rules(), max_dets=7), 'AP')
    assert step.rule == 'max_dets' and '7 best' in step.sentence and not step.matters(step.value)


def run_tool(*arguments):
    return compare_metrics.main([str(word) for word in arguments])


def test_the_tool_from_files_to_the_page(tmp_path, monkeypatch, capsys):
    records, samples = random_crowd(3, num_pictures=3)
    ann_file = write_odgt(tmp_path / 'a.odgt', records)
    metric = CrowdMetric.__new__(CrowdMetric)
    path = metric.dump_detections(detections_of(samples), str(tmp_path / 'found.coco.json'))
    out = tmp_path / 'out'
    arguments = ['--ann-file', ann_file, '--out-dir', out]
    assert run_tool(f'mine={path}', *arguments, '--write-coco') == 0
    text = capsys.readouterr().out
    rows = json.loads((out / 'comparison.json').read_text())
    page = (out / 'report.html').read_text()
    assert [row['name'] for row in rows] == ROWS and 'http' not in page
    assert all(name in text and name in page for name in ROWS) and 'mine' in page
    with monkeypatch.context() as quiet:
        quiet.setattr('builtins.print', lambda *_, **__: None)
        found = COCO(out / 'ground_truth.json').loadRes(str(out / 'results.json'))
    assert len(found.anns) == sum(len(one['pred_instances']['scores']) for one in samples)

    (tmp_path / 'other.json').write_text('[{"image_id": "x", "bbox": [1, 1, 2, 2], "score": 1}]')
    assert run_tool(tmp_path / 'other.json', *arguments) == 2
    assert "the first is 'x'" in capsys.readouterr().err
