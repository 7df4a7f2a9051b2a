"""The benchmarks run at a small size and tell what they promise. No times are judged."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / 'benchmarks'


@pytest.fixture
def assigners(monkeypatch):
    spec = importlib.util.spec_from_file_location('assigners', BENCHMARKS / 'assigners.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'assigners', module)
    monkeypatch.syspath_prepend(BENCHMARKS)  # where a script finds what lies beside it
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


def test_table_of_assigners(assigners, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(assigners, 'HEIGHT', 128)
    monkeypatch.setattr(assigners, 'WIDTH', 192)
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'assigners.py',
            '--boxes',
            '3',
            '2',
            '--classes',
            '1',
            '4',
            '--repeats',
            '1',
            '--threads',
            '1',
            '--busy',
            '1',
            '--json',
            str(tmp_path / 'table.json'),
        ],
    )
    assigners.main()
    rows = json.loads((tmp_path / 'table.json').read_text())['rows']
    assert [(row['boxes'], row['classes']) for row in rows] == [(3, 1), (2, 4)]
    for row in rows:
        assert list(row['assigners']) == [
            'LLA',
            'plain LLA',
            'OTA',
            'POTO',
            'SimOTA',
            'DynamicSoftLabel',
            'TaskAligned',
            'ATSS',
            'MaxIoU',
        ]
        assert row['differ'] == 0
        assert all(min(found.values()) > 0 for found in row['assigners'].values())
        assert all(found['worst_ms'] >= found['ms'] for found in row['assigners'].values())
    out = capsys.readouterr().out
    assert out.count('\n| ') == 4  # head, rule and two rows
    assert '1 other busy process(es)' in out and '\n3, 1: LLA ' in out


def test_others_are_busy_as_long_as_asked(assigners, monkeypatch):
    started = []

    class Process(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, 'Popen', Process)
    with assigners.busy(2):
        assert len(started) == 2 and all(one.poll() is None for one in started)
    assert all(one.poll() is not None for one in started)


def test_peak_memory_is_that_of_known_allocations(assigners):

    def call():
        first = torch.empty(10 << 20, dtype=torch.uint8)
        second = torch.empty(20 << 20, dtype=torch.uint8)
        del first
        third = torch.empty(5 << 20, dtype=torch.uint8)
        return second, third

    assert assigners.peak_bytes(call, 'cpu') == 30 << 20


def test_boxes_lie_in_the_picture_and_about_two_percent_of_pairs_inside(assigners):
    inputs = assigners.make_inputs(100, 1, 0, 'cpu')
    boxes, points = inputs['boxes'], inputs['points']
    assert len(points) == sum(inputs['num_level_priors']) == 22400
    assert (boxes >= 0).all() and (boxes[:, 2] <= 1344).all() and (boxes[:, 3] <= 800).all()
    inside = ((points > boxes[:, None, :2]) & (points < boxes[:, None, 2:])).all(-1)
    assert 0.01 < inside.float().mean() < 0.03


@pytest.mark.slow
def test_every_head_of_the_training_step_gives_losses_and_gradients(assigners, monkeypatch):
    spec = importlib.util.spec_from_file_location('training_step', BENCHMARKS / 'training_step.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assigners.init_default_scope('mmdet')
    monkeypatch.setattr(module, 'HEIGHT', 64)
    monkeypatch.setattr(module, 'WIDTH', 64)
    ticks = iter(range(1000))
    pictures = [
        torch.zeros(2, 256, 64 // stride or 1, 64 // stride or 1) for stride in module.STRIDES
    ]
    boxes = [
        module.InstanceData(bboxes=torch.tensor([[4.0, 4.0, 40.0, 60.0]]), labels=torch.tensor([0]))
    ] * 2
    for name in module.HEADS:
        head = module.build_head(name)
        found = module.step(torch.nn.Identity(), head, pictures, boxes, lambda: next(ticks))
        assert list(found) == list(module.PARTS) and found['assignment'] > 0
        assert any(weight.grad is not None for weight in head.parameters())


def test_table_of_operators(assigners, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'assigners', assigners)
    spec = importlib.util.spec_from_file_location('operators', BENCHMARKS / 'operators.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(assigners, 'HEIGHT', 128)
    monkeypatch.setattr(assigners, 'WIDTH', 192)
    words = 'operators.py --images 1 2 --boxes 9 --classes 2'
    monkeypatch.setattr(sys, 'argv', words.split())
    module.main()
    head, _, one, two, *_ = capsys.readouterr().out.splitlines()
    names = [name.strip() for name in head.split('|')[2:-1]]
    assert names[:2] == ['LLA', 'LLA, image by image'] and 'MaxIoU' in names
    rows = [
        [tuple(map(int, cell.replace(',', '').split('·'))) for cell in line.split('|')[2:-1]]
        for line in (one, two)
    ]
    singly, waits = zip(*rows[0], strict=True)
    assert rows[0][0] == rows[0][1] and waits[0] == 1
    assert rows[1][0][0] <= rows[0][0][0] + 3 and rows[1][0][1] == 1
    assert all(two > 1.8 * one for one, (two, _) in zip(singly[1:], rows[1][1:], strict=True))


def test_table_of_mmcvs_operators(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location(
        'operators_mmcv', BENCHMARKS / 'operators_mmcv.py'
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, 'argv', ['operators_mmcv.py', '--rounds', '1', '--scale', '0.1'])
    try:
        module.main()
    finally:
        torch.set_num_threads(threads)
    _, _, *rows = (line.strip('|').split('|') for line in capsys.readouterr().out.splitlines())
    assert [row[0].strip().split(',')[0] for row in rows] == [
        *['nms'] * 4,
        'soft_nms',
        *['roi_align'] * 2,
        *['deform_conv2d'] * 2,
    ]
    assert all(float(row[1]) > 0 for row in rows)
    assert all((float(row[3]) > 0) if module.COMPILED else (row[3].strip() == '-') for row in rows)
