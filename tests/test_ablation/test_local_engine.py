"""GPU allocation of the local engine, and a run of several processes."""

import threading
from pathlib import Path

import pytest
import torch

from mmdet_lla.ablation.engines import Job, JobError, JobResult, LocalEngine
from mmdet_lla.ablation.engines.tools import ToolFailed
from mmdet_lla.cli import ablate

ROOT = Path(__file__).resolve().parents[2]


def results_of(engine, call, count):
    events = engine.run([Job(str(i), call) for i in range(count)])
    ended = [event for event in events if isinstance(event, (JobResult, JobError))]
    assert sorted(event.name for event in ended) == [str(i) for i in range(count)]
    assert not [event for event in ended if isinstance(event, JobError)], ended
    return [event.result for event in ended]


@pytest.mark.parametrize(
    'gpus, each, groups',
    [
        (['3', '5', '7'], None, ['3', '5', '7']),
        (['0', '1', '2', '3', '4'], 2, ['0,1', '2,3']),  # one is left over
        (['GPU-8f', 'GPU-91'], 2, ['GPU-8f,GPU-91']),
    ],
)
def test_local_runs_have_their_own_gpus(gpus, each, groups):
    engine = LocalEngine(gpus=gpus, gpus_per_run=each)
    together = threading.Barrier(len(groups), timeout=60)
    held, lock = set(), threading.Lock()

    def hold(context):
        group = context.tools.env['CUDA_VISIBLE_DEVICES']
        with lock:
            assert group not in held
            held.add(group)
        together.wait()
        with lock:
            held.remove(group)
        return group, context.gpus

    assert engine.jobs == len(groups)
    seen = results_of(engine, hold, 3 * len(groups))
    assert sorted(seen) == sorted([(group, each or 1) for group in groups] * 3)


def test_runs_share_gpus_that_are_too_few():
    engine = LocalEngine(jobs=4, gpus=['0', '1'])
    seen = results_of(engine, lambda context: context.tools.env['CUDA_VISIBLE_DEVICES'], 4)
    assert set(seen) <= {'0', '1'} and engine.groups == [['0'], ['1']] * 2


def test_without_gpus_cuda_visible_devices_is_not_set(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    engine = LocalEngine(gpus=[])
    assert (engine.jobs, engine.gpus_per_run) == (1, 0)
    (env,) = results_of(engine, lambda context: context.tools.env, 1)
    assert 'CUDA_VISIBLE_DEVICES' not in env


@pytest.mark.parametrize(
    'visible, words, jobs',
    [(None, [], 4), ('2,3,6,7', [], 4), (None, ['--gpus-per-run', '2'], 2)],
)
def test_number_of_parallel_runs_is_the_number_of_gpus(monkeypatch, visible, words, jobs):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    engine = ablate.create_engine(ablate.build_parser().parse_args(['a.py', *words]))
    assert engine.jobs == jobs
    assert sum(engine.groups, []) == (visible or '0,1,2,3').split(',')


def test_too_many_gpus_per_run_are_rejected():
    with pytest.raises(ValueError, match='gpus_per_run is 3, expected 0 to 2'):
        LocalEngine(gpus=['0', '1'], gpus_per_run=3)


def test_a_run_of_two_gpus_is_two_processes(tmp_path):
    """Takes seconds: torchrun imports torch."""
    tool = tmp_path / 'tool.py'
    tool.write_text(
        'import os, sys\n'
        'names = "RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"\n'
        'words = [os.environ[name] for name in names] + sys.argv[1:]\n'
        'sys.stdout.write("I am " + " ".join(words) + "\\n")\n'
        'sys.exit(sys.argv[1] == "fail" and os.environ["RANK"] == "1")\n'
    )

    def run(context):
        return [
            line.split()[2:]
            for line in context.run_tool([tool, 'go'], tmp_path / 'log')
            if line.startswith('I am')
        ]

    engine = LocalEngine(gpus=['4', '5'], gpus_per_run=2)
    (seen,) = results_of(engine, run, 1)
    assert sorted(seen) == [[rank, '2', '4,5', 'go', '--launcher', 'pytorch'] for rank in '01']

    failing = Job('a', lambda context: list(context.run_tool([tool, 'fail'], tmp_path / 'log')))
    (failed,) = [event for event in engine.run([failing]) if event is not None]
    assert isinstance(failed.error, ToolFailed)
    assert (failed.error.tool, failed.error.status) == ('tool.py', 1)
