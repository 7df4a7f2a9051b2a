"""What only a cluster has: nodes that are lost, come late, or see something else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray_jobs import answer, complain, die

from mmdet_lla.analysis.ablation.engines import Done, Failed, Job

ray_engine = pytest.importorskip(
    'mmdet_lla.analysis.ablation.engines.ray_engine', reason='the engine of Ray wants Ray'
)
RayEngine = ray_engine.RayEngine
ROOT = Path(__file__).resolve().parents[2]


def test_jobs_are_told_of_once(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT / 'tests'))  # of ray_jobs
    jobs = [Job('a', answer), Job('b', complain), Job('c', die)]
    engine = RayEngine(tmp_path, cpus_per_run=2, retries=1)
    ended = [e for e in engine.run(jobs) if isinstance(e, (Done, Failed))]
    by_name = {event.name: event for event in ended}
    assert len(ended) == 3 and set(by_name) == {'a', 'b', 'c'}
    assert by_name['a'] == Done('a', (2, '2'))
    assert str(by_name['b'].error).endswith('Odd: no')
    assert 'WorkerCrashed' in str(by_name['c'].error)
    assert list(tmp_path.iterdir()) == []  # the file that nodes looked for is gone


def test_what_a_node_does_not_see_is_named(ray_cluster, tmp_path):
    job = Job('a', answer, (tmp_path / 'data' / 'Images',))
    with pytest.raises(ValueError, match=r'node \S+ does not see .*data/Images'):
        list(RayEngine(tmp_path).run([job]))


def test_too_large_a_run_is_named(ray_cluster, tmp_path):
    events = RayEngine(tmp_path, cpus_per_run=64, gpus_per_run=8).run([Job('a', answer)])
    assert '64 cores and 8 GPUs' in next(events).text
    events.close()


@pytest.mark.parametrize('setting', [dict(jobs=0), dict(cpus_per_run=0), dict(gpus_per_run=-1)])
def test_bad_settings_are_named(tmp_path, setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f'{name} is {setting[name]}, expected at least'):
        RayEngine(tmp_path, **setting)


@pytest.mark.slow
def test_a_lost_node_loses_no_run(study_folder):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tests' / 'ray_nodes.py'), 'tools', '1'],
        cwd=study_folder,
        env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests'},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found['failures'] == []
    assert sorted(found['attempts']) == [1, 2]
    for epochs in found['epochs']:
        # nothing is done twice, but for the epoch whose checkpoint was being written
        assert list(dict.fromkeys(epochs)) == ['1', '2', '3', '4'] and len(epochs) <= 5
