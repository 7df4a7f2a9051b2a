"""The benchmarks of inference and exported files run at a tiny size. No times are judged."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    """Loads one by name, with a command line; paths and threads are put back."""
    monkeypatch.setattr(sys, 'path', list(sys.path))
    threads = torch.get_num_threads()

    def load(name: str, words: str = ''):
        spec = importlib.util.spec_from_file_location(
            f'benchmark_{name}', BENCHMARKS / f'{name}.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *words.split()])
        return module

    yield load
    torch.set_num_threads(threads)


def rows(text: str) -> list[list[str]]:
    """Cells of a table without its first two lines."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    return [line for line in cells if not set(line[0]) <= {'-', ' '} and line[0]]


def test_backends_in_torch(benchmark, monkeypatch, tmp_path, capsys):
    words = f'--sizes 128x96 --repeats 1 --backends eager Predictor --files {tmp_path}'
    module = benchmark('backends', words)
    sizes, exported = [], []

    def child(name, size, args):  # in this process, which spares imports
        sizes.append(size)
        return module.measure(name, tuple(map(int, size.split('x'))), args)

    monkeypatch.setattr(module, 'child', child)
    monkeypatch.setattr(module, 'export', lambda *args: exported.append(args))
    module.main()
    eager, ours = rows(capsys.readouterr().out)
    assert sizes == ['128x96', '128x96'] and exported == [('lla-s', tmp_path)]
    assert (eager[0], eager[3], ours[0]) == ('eager', '1.00', 'Predictor')
    assert all(float(cell) > 0 for cell in ours[1:6]) and ours[6] == eager[6]


def test_tiles(benchmark, monkeypatch, capsys):
    module = benchmark('tiles', '--pictures 1 --people 4 --tiles 240')
    monkeypatch.setattr(module, 'WIDTH', 320)
    monkeypatch.setattr(module, 'HEIGHT', 240)
    module.main()
    found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == [
        'whole, resized',
        'whole, as large as tiles of 240',
        'tiles of 240',
        'tiles of 240, suppressed',
    ]
    for row in found:
        assert all(0 <= float(cell) <= 1 for cell in (row[1], row[3]))
        assert all(cell.isdigit() for cell in (row[2], row[4], row[5]))
    assert found[0][6] == '' and found[1][6] == found[2][6] != ''
