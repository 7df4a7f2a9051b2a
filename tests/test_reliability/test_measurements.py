"""Benchmarks that are only run by hand work at a tiny size."""

import importlib
import re
from functools import partial
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Import a script and hand it a command line, in a directory of its own."""
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / 'reliability'))
    monkeypatch.setenv('CROWD_ROOT', f'{tmp_path}/')
    monkeypatch.chdir(tmp_path)

    def load(name, *words):
        monkeypatch.setattr('sys.argv', [name, *words])
        return importlib.import_module(name)

    yield load
    torch.set_num_threads(threads)


def test_metrics_agree_with_mmdets(load, monkeypatch, capsys):
    metrics = load('metrics', *'--pictures 2 --dets 6 --people 4 --all-pictures 3'.split())
    theirs = partial(metrics.CrowdHumanMetric, num_ji_process=1)  # each is forked from all of this
    monkeypatch.setattr(metrics, 'CrowdHumanMetric', theirs)
    metrics.main()
    said = capsys.readouterr().out
    assert re.findall(r'^(\S+) .*x +\d+x$', said, re.MULTILINE) == ['AP+MR', 'JI', 'AP+MR+JI']
    assert '3 pictures, ours alone' in said and 'CityPersonsMetric' in said


def test_memory_is_reported_per_window(load, monkeypatch, capsys):
    memory = load('memory', '--iterations', '4')
    monkeypatch.setattr(memory, 'WINDOW', 2)
    memory.main()
    *_, last = capsys.readouterr().out.splitlines()
    assert re.match(r'largest in iterations 3 to 4: [\d.]+ MB, .* growth [+-][\d.]+ MB', last)
