"""The benchmarks run at a tiny size and report what they promise. No times are judged."""

import doctest
import importlib
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / 'benchmarks'


@pytest.fixture
def load(monkeypatch):
    """Import a benchmark; its modules, paths and threads are reset after the test."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / 'reliability')
    threads, before = torch.get_num_threads(), set(sys.modules)
    yield importlib.import_module
    torch.set_num_threads(threads)
    for path in BENCHMARKS.rglob('*.py'):
        if path.stem not in before:
            sys.modules.pop(path.stem, None)


@pytest.fixture
def assigners(load, monkeypatch):
    """The benchmark of assigners, with images of 128 x 192."""
    module = load('assigners')
    monkeypatch.setattr(module, 'HEIGHT', 128)
    monkeypatch.setattr(module, 'WIDTH', 192)
    return module


def read_table(text: str) -> list[list[str]]:
    """Cells of the printed table, header included."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    return [line for line in cells if line[0] != '---']


@pytest.mark.parametrize('name', ['harness', 'simulated_device'])
def test_examples_of(load, name):
    found = doctest.testmod(load(name))
    assert found.attempted and not found.failed


@pytest.mark.parametrize(
    'path',
    [path for path in sorted(BENCHMARKS.rglob('*.py')) if '__main__' in path.read_text()],
    ids=lambda path: path.stem,
)
def test_help_of(path, python):
    done = subprocess.run([python, str(path), '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and 'usage: ' in done.stdout, done.stderr


def test_peak_memory_equals_known_allocations(load):
    def call():
        first = torch.empty(10 << 20, dtype=torch.uint8)
        second = torch.empty(20 << 20, dtype=torch.uint8)
        del first
        third = torch.empty(5 << 20, dtype=torch.uint8)
        return second, third

    assert load('harness').peak_tensor_mib(call) == 30


def test_assigners(assigners, tmp_path, capsys):
    path = tmp_path / 'table.json'
    words = '--gts 3 2 --classes 1 4 --repeats 1 --busy 1 --out-json'
    assigners.main([*words.split(), str(path)])
    rows = json.loads(path.read_text())['rows']
    assert [(row['gts'], row['classes']) for row in rows] == [(3, 1), (2, 4)]
    for row in rows:
        assert list(row['assigners'])[:3] == ['LLA', 'dense LLA', 'OTA']
        assert len(row['assigners']) == 9 and row['differ'] == 0
        assert all(min(found.values()) > 0 for found in row['assigners'].values())
        assert all(found['worst_ms'] >= found['ms'] for found in row['assigners'].values())
    out = capsys.readouterr().out
    assert [row[0] for row in read_table(out)] == ['gts, classes', '3, 1', '2, 4']
    assert '1 other busy process(es)' in out


def test_assigners_for_anchor_boxes_and_the_plot(assigners, monkeypatch, tmp_path):
    monkeypatch.setattr(assigners, 'GROWTH', (2, 4))
    monkeypatch.setattr(assigners, 'MEMORY_LIMIT', 0)
    plot, path = tmp_path / 'growth.png', tmp_path / 'growth.json'
    words = ['--repeats', '1', '--form', 'anchors']
    assigners.main([*words, '--plot', str(plot), '--out-json', str(path)])
    first, second = (row['assigners'] for row in json.loads(path.read_text())['rows'])
    assert list(first) == ['LLA', 'ATSS', 'MaxIoU'] and list(second) == ['LLA']
    assert plot.read_bytes().startswith(b'\x89PNG')


def test_operators(load, assigners, capsys):
    load('operators').main('--images 1 2 --gts 9 --classes 2'.split())
    header, *rows = read_table(capsys.readouterr().out)
    assert header[1:3] == ['LLA', 'LLA, image by image'] and 'MaxIoU' in header
    one, two = (
        [tuple(map(int, cell.replace(',', '').split('·'))) for cell in row[1:]] for row in rows
    )
    assert one[0] == one[1] and one[0][1] == 1
    assert two[0][0] <= one[0][0] + 3 and two[0][1] == 1
    assert all(pair[0] > 1.8 * single[0] for single, pair in zip(one[1:], two[1:], strict=True))


@pytest.mark.slow
def test_training_step(load, assigners, tmp_path, capsys):
    path = tmp_path / 'step.json'
    words = '--depth 18 --repeats 1 --gts 3 --batch-size 2 --out-json'
    load('training_step').main([*words.split(), str(path)])
    found = json.loads(path.read_text())['milliseconds']
    assert list(found) == ['LLAHead', 'LLAHead, dense', 'ATSSHead', 'YOLOXHead']
    assert all(min(parts.values()) > 0 for parts in found.values())
    assert len(read_table(capsys.readouterr().out)) == 5


def test_metrics_agree_with_mmdet(load, monkeypatch, capsys):
    metrics = load('metrics')
    theirs = partial(metrics.CrowdHumanMetric, num_ji_process=1)  # each forks this process
    monkeypatch.setattr(metrics, 'CrowdHumanMetric', theirs)
    metrics.main('--images 2 --dets 6 --people 4'.split())
    _, *rows = read_table(capsys.readouterr().out)
    assert [row[0] for row in rows] == ['AP, MR', 'JI', 'AP, MR, JI']


def test_backends(load, monkeypatch, tmp_path):
    backends, path = load('backends'), tmp_path / 'found.json'
    exported = []
    monkeypatch.setattr(backends, 'measure_in_child', backends.measure)  # spares the imports
    monkeypatch.setattr(backends, 'export', lambda *args: exported.append(args))
    words = f'--sizes 128x96 --repeats 1 --backends eager Predictor --files {tmp_path}'
    backends.main([*words.split(), '--out-json', str(path)])
    eager, ours = json.loads(path.read_text())['rows']
    assert exported == [('lla-s', tmp_path)]
    assert (eager['name'], ours['name']) == ('eager', 'Predictor')
    assert eager['detections'] == ours['detections'] and min(eager['ms'], ours['ms']) > 0


def test_tiles(load, monkeypatch, tmp_path):
    tiles, path = load('tiles'), tmp_path / 'found.json'
    monkeypatch.setattr(tiles, 'WIDTH', 320)
    monkeypatch.setattr(tiles, 'HEIGHT', 240)
    tiles.main([*'--images 1 --people 4 --tiles 240 --out-json'.split(), str(path)])
    found = json.loads(path.read_text())['settings']
    assert [name.split(',')[0] for name in found] == [
        *('whole image', 'whole image at the scale of 240 tiles', 'tiles of 240', 'tiles of 240'),
    ]
    for row in found.values():
        assert 0 <= row['ap'] <= 1 and 0 <= row['recall'] <= 1 and row['processor_s'] > 0


def test_memory_is_reported_per_window(load, monkeypatch, capsys):
    memory = load('memory')
    monkeypatch.setattr(memory, 'WINDOW', 2)
    monkeypatch.setattr(sys, 'argv', ['memory', '--iterations', '4'])
    memory.main()
    *_, last = capsys.readouterr().out.splitlines()
    assert re.match(r'largest in iterations 3 to 4: [\d.]+ MB, .* growth [+-][\d.]+ MB', last)


def test_on_gpu_runs_on_a_cpu(load, assigners, tmp_path, capsys):
    path = tmp_path / 'gpu.json'
    words = '--device cpu --tiny --parts assignments synchronizations assigning Predictor'
    assert load('on_gpu').main([*words.split(), '--out-json', str(path)]) == 0
    parts = json.loads(path.read_text())['parts']
    assert [part['error'] for part in parts.values()] == [None] * 4
    golden = parts['assignments']['rows']
    assert [row['equal'] for row in golden.values()] == [12, 11, 24, 4]
    assert all(row['equal'] == row['cases'] for row in golden.values())
    assert parts['synchronizations']['rows']['LLA, batch of 2']['synchronizations'] == 1
    assert list(parts['assigning']['rows'])[-1] == 'TaskAligned, batch of 16'
    assert parts['Predictor']['rows']['lla-s, batch of 1']['images_per_second'] > 0
    assert 'failed' not in {row[1] for row in read_table(capsys.readouterr().out)}


def test_on_gpu_reports_a_failed_part_and_continues(load, assigners, monkeypatch, tmp_path, capsys):
    def fail(args):
        yield 'first', dict(ms=1.0)
        raise ValueError('broken')

    def late(args):
        yield 'case', dict(ms=2.0)

    on_gpu, path = load('on_gpu'), tmp_path / 'gpu.json'
    monkeypatch.setattr(on_gpu, 'PARTS', dict(assigning=fail, Predictor=late))
    words = '--device cpu --tiny --parts assigning Predictor --out-json'
    assert on_gpu.main([*words.split(), str(path)]) == 1
    first, second = json.loads(path.read_text())['parts'].values()
    assert first['error'] == 'ValueError: broken' and first['rows'] == {'first': {'ms': 1.0}}
    assert second['error'] is None
    assert ['assigning', 'failed', 'ValueError: broken'] in read_table(capsys.readouterr().out)
    monkeypatch.setattr(on_gpu, 'TIME_LIMIT', -1)
    assert on_gpu.main([*words.split(), str(path)]) == 1
    assert 'TimeoutError' in json.loads(path.read_text())['parts']['Predictor']['error']


def test_on_gpu_finds_a_different_assignment(load):
    on_gpu = load('on_gpu')
    vector = on_gpu.DATA / 'assign_one_gt.npz'
    ((assign, pred, gts, labels, assigned),) = on_gpu.read_golden(vector)
    assert on_gpu.is_equal(assign, pred, gts, labels, assigned, 'cpu')
    assigned[assigned == 0] = len(labels)
    assert not on_gpu.is_equal(assign, pred, gts, labels, assigned, 'cpu')


def test_on_gpu_needs_one(load, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='2'):
        load('on_gpu').main([])
    assert '--device cpu --tiny' in capsys.readouterr().err
