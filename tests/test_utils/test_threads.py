"""CPU thread defaults respect the user and leave cores to data workers."""

import os
import subprocess
import sys

import pytest
import torch

from mmdet_lla.utils import threads
from mmdet_lla.utils.threads import configure_threads, count_cores


@pytest.fixture
def clean(monkeypatch):
    """An environment without settings, on four cores; torch's threads are restored."""
    for name in ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, '_written', None)
    monkeypatch.setattr(threads, 'count_cores', lambda: 4)
    before = torch.get_num_threads()
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    'environment, options, expected',
    [
        ({}, {}, 4),
        ({}, dict(workers=1), 3),
        ({}, dict(workers=9), 1),
        ({'LOCAL_WORLD_SIZE': '2'}, dict(workers=1), 1),
        ({}, dict(threads=2, workers=3), 2),
        ({'OMP_NUM_THREADS': '7'}, dict(threads=2), 2),
    ],
)
def test_threads_are_chosen(clean, environment, options, expected):
    for name, value in environment.items():
        clean.setenv(name, value)
    assert configure_threads(**options).threads == expected
    assert torch.get_num_threads() == expected
    assert os.environ['OMP_NUM_THREADS'] == str(expected)
    assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'


@pytest.mark.parametrize('value, threads', [('7', 7), ('3,1', 3), ('odd', 4)])
def test_settings_of_the_user_stay(clean, value, threads):
    clean.setenv('OMP_NUM_THREADS', value)
    clean.setenv('OMP_WAIT_POLICY', 'ACTIVE')
    before = torch.get_num_threads()
    choice = configure_threads(workers=1)
    assert choice.threads == threads and choice.source == f'OMP_NUM_THREADS={value}'
    assert (torch.get_num_threads(), os.environ['OMP_NUM_THREADS']) == (before, value)
    assert os.environ['OMP_WAIT_POLICY'] == 'ACTIVE'


def test_a_later_choice_replaces_an_earlier_one(clean):
    assert configure_threads().threads == 4
    assert configure_threads(workers=2).threads == 2


@pytest.mark.parametrize('quota, cores', [('max 100000', 10**6), ('150000 100000', 1), ('', 10**6)])
def test_quota_of_a_container_counts(tmp_path, quota, cores):
    (tmp_path / 'cpu.max').write_text(quota)
    assert count_cores(tmp_path / 'cpu.max') == min(cores, count_cores(tmp_path / 'none'))


def test_threads_are_set_before_torch_is_imported():
    code = (
        'import sys; from mmdet_lla.utils.threads import configure_threads; '
        'configure_threads(threads=1); assert "torch" not in sys.modules; '
        'import torch; print(torch.get_num_threads())'
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith('OMP_')}
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.stdout == '1\n', done.stderr
