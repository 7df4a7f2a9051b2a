"""Behavior that needs a cluster: lost and late nodes, and nodes with other files."""

import signal
import threading
import time
from functools import partial
from types import SimpleNamespace

import pytest
from ray_jobs import answer, complain, die, gpus
from stand_in_study import Silent, study_of
from waiting import running_in, wait_until

from mmdet_lla.ablation.engines import Job, JobError, JobMessage, JobResult
from mmdet_lla.ablation.engines.tools import ToolFailed

ray_engine = pytest.importorskip(
    'mmdet_lla.ablation.engines.ray_engine', reason='the engine of Ray wants Ray'
)
RayEngine = ray_engine.RayEngine


def test_each_job_ends_with_one_event(ray_cluster, tmp_path):
    note = tmp_path / 'note'
    jobs = [Job('a', answer), Job('b', complain), Job('c', partial(die, note=note))]
    engine = RayEngine(tmp_path, cpus_per_run=2, retries=1)
    ended = [e for e in engine.run(jobs) if isinstance(e, (JobResult, JobError))]
    by_name = {event.name: event for event in ended}
    assert len(ended) == 3 and set(by_name) == {'a', 'b', 'c'}
    assert by_name['a'] == JobResult('a', (2, '2'))
    assert str(by_name['b'].error).endswith('UnexpectedError: no')
    assert 'WorkerCrashed' in str(by_name['c'].error)
    assert note.read_text().split() == ['tried'] * 2  # and once again
    assert list(tmp_path.iterdir()) == [note]  # the file that nodes looked for is gone


@pytest.mark.parametrize('status, waits', [(-signal.SIGKILL, True), (-signal.SIGTERM, False)])
def test_a_worker_waits_before_it_reports_a_killed_tool(monkeypatch, tmp_path, status, waits):
    """A worker that loses its node kills its tools first; a reported failure is not retried."""
    error = ToolFailed('train.py', status, tmp_path / 'train.log', '')

    def fail(context):
        raise error

    slept = []
    monkeypatch.chdir(tmp_path)
    clock = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr(ray_engine, 'time', clock)
    answer = ray_engine._call._function(Job('a', fail), 1, 0, str(tmp_path), tmp_path, None)
    assert answer == (False, error)
    assert slept == [ray_engine.WORKER_EXIT_S] * waits


def test_each_run_has_its_own_gpus(ray_cluster, tmp_path):
    engine = RayEngine(tmp_path, cpus_per_run=1, gpus_per_run=2)
    events = engine.run([Job('a', gpus), Job('b', gpus)])
    results = [event.result for event in events if isinstance(event, JobResult)]
    assert [(count, sorted(seen)) for count, seen in results] == [(2, ['0', '1'])] * 2


def test_paths_missing_on_a_node_are_named(ray_cluster, tmp_path):
    job = Job('a', answer, (tmp_path / 'data' / 'Images',))
    with pytest.raises(ValueError, match=r'node \S+ does not see .*data/Images'):
        list(RayEngine(tmp_path).run([job]))


def test_too_large_a_run_is_named(ray_cluster, tmp_path):
    events = RayEngine(tmp_path, cpus_per_run=64, gpus_per_run=8).run([Job('a', answer)])
    (printed,) = [event.text for event in take_until(JobMessage, events)]
    assert '64 cores and 8 GPUs' in printed


def take_until(kind, events):
    """Return the first event of a kind, and close the engine."""
    try:
        for event in events:
            if isinstance(event, kind):
                return [event]
    finally:
        events.close()
    return []


@pytest.mark.parametrize('setting', [dict(jobs=0), dict(cpus_per_run=0), dict(gpus_per_run=-1)])
def test_bad_settings_are_named(tmp_path, setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f'{name} is {setting[name]}, expected at least'):
        RayEngine(tmp_path, **setting)


@pytest.mark.parametrize('failing', [0, 2, ray_engine.STARTS])
def test_a_cluster_of_its_own_has_time_to_start(monkeypatch, failing):
    calls = []

    def init(address, include_dashboard, _system_config, **kwargs):
        calls.append(address)
        if calls.count('local') <= failing:
            raise Exception('The current node timed out during startup.')

    monkeypatch.setattr(ray_engine.ray, 'init', init)
    monkeypatch.setattr(ray_engine.ray, 'is_initialized', lambda: False)
    monkeypatch.setattr(ray_engine.ray, 'shutdown', lambda: calls.append('ended'))
    if failing < ray_engine.STARTS:
        with ray_engine._cluster(None):
            assert calls == ['local', 'ended'] * failing + ['local']
    else:
        with pytest.raises(ConnectionError, match='did not start in'), ray_engine._cluster(None):
            pass
    assert calls.count('local') == calls.count('ended')


@pytest.mark.slow
def test_a_lost_node_loses_no_run(ray_cluster, study_dir):
    from ray_nodes import CPUS, another_node

    room = CPUS + 1  # a run fits on the nodes alone that are lost and come
    engine = RayEngine(study_dir / 'work', cpus_per_run=room, gpus_per_run=0)
    study = study_of(study_dir, {'model.waits_after': 2}, seeds=[0], engine=engine)
    failures = []
    thread = threading.Thread(target=lambda: failures.extend(study.execute(Silent())), daemon=True)

    def epochs():
        return [path.read_text().split() for path in study_dir.glob('work/*/*/epochs')]

    with another_node(ray_cluster, num_cpus=room) as node:
        thread.start()
        wait_until(lambda: epochs() == [['1', '2']], 'one run has trained two epochs')
        ray_cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: running_in(study_dir) == [], 'its tool has ended', 60)
    (study_dir / 'go').touch()
    with another_node(ray_cluster, num_cpus=room):  # comes late, and takes over
        thread.join(240)
        assert not thread.is_alive(), 'the study did not end in 240 s'
    assert failures == []
    assert sorted(run.result()['attempts'] for run in study.runs) == [1, 2]
    assert epochs() == [['1', '2', '3', '4']] * 2  # nothing is done twice
