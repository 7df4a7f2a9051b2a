"""Running a study: resuming, failing, interrupting; with stand-ins for the slow tools."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config
from stand_in_study import CONFIG, TEST, TRAIN, Silent, study_of, write_configs
from waiting import running_in, started, wait_until

from mmdet_lla.ablation.engines import LocalEngine
from mmdet_lla.ablation.engines.tools import (
    Stopped,
    ToolFailed,
    ToolRunner,
    parse_step,
)
from mmdet_lla.ablation.progress import StudyProgress
from mmdet_lla.ablation.results import result_rows, write_results
from mmdet_lla.ablation.runs import repair_checkpoints, run_config
from mmdet_lla.ablation.study import Study, ablate, find_outdated, plan_runs, use_weights_of
from mmdet_lla.ablation.variants import load_variants

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def engine(request, study_dir):
    """Two runs at once, of the engine that a test is parametrized with, or of the local one."""
    if getattr(request, 'param', 'local') == 'local':
        return LocalEngine(jobs=2)
    request.getfixturevalue('ray_cluster')
    from mmdet_lla.ablation.engines.ray_engine import RayEngine

    return RayEngine(study_dir / 'work', jobs=2, cpus_per_run=1)


EVERY_ENGINE = pytest.mark.parametrize('engine', ['local', 'ray'], indirect=True)


def epochs_of(study):
    return {
        (run.variant.name, run.seed): (run.work_dir / 'epochs').read_text().split()
        for run in study.runs
    }


def test_runs_every_config_with_every_seed_once(study_dir, engine):
    study, progress = study_of(study_dir, engine=engine), Silent()
    assert [(run.variant.name, run.seed) for run in study.runs] == [
        ('one', 0),
        ('two', 0),
        ('one', 1),
        ('two', 1),
    ]
    assert study.execute(progress) == []
    assert progress.fraction() == 1
    for run in study.runs:
        result = run.result()
        assert result['metrics']['recall'] == {'one': 0.5, 'two': 1.0}[run.variant.name]
        assert (
            result['seed']
            == run.seed
            == Config.fromfile(run.work_dir / 'config.py')['randomness']['seed']
        )
        assert [path.name for path in run.work_dir.glob('*.pth')] == ['epoch_4.pth']
    assert len(progress.lines) == 4

    # Nothing is done twice.
    again = study_of(study_dir, engine=engine)
    assert again.execute(Silent()) == []
    assert epochs_of(again) == dict.fromkeys(epochs_of(again), ['1', '2', '3', '4'])


@EVERY_ENGINE
def test_a_failed_run_is_named_and_the_others_continue(study_dir, engine):
    (study_dir / 'one.py').write_text(
        CONFIG.format(quality=1, directory=study_dir) + "model['dies_after'] = 2\n"
    )
    study, progress = study_of(study_dir, engine=engine, seeds=[0]), Silent()
    (failure,) = study.execute(progress)
    assert failure.run.variant.name == 'one'
    assert 'exit status 1' in failure.reason and failure.reason.endswith('no more paper')
    assert failure.log.read_text().endswith('no more paper\n')
    assert [run.result() is None for run in study.runs] == [True, False]
    assert any('one, seed 0 FAILED' in text for text in progress.lines)
    assert progress.fraction() == 1


def test_resumes_from_the_last_complete_checkpoint(study_dir, engine):
    study = study_of(study_dir, {'model.dies_after': 3}, seeds=[0], engine=engine)
    assert len(study.execute(Silent())) == 2
    directory = study.runs[0].work_dir
    # What kill -9 leaves of a checkpoint, and a note that leads nowhere.
    (directory / 'epoch_3.pth').write_bytes(b'PK\x03\x04 and no more')
    (study.runs[1].work_dir / 'epoch_3.pth').unlink()
    (study_dir / 'tools' / 'train.py').write_text(TRAIN.replace('dies_after', 'dies_not'))
    assert study.execute(Silent()) == []
    assert (directory / 'epochs').read_text().split() == ['1', '2', '3', '3', '4']
    assert (study.runs[1].work_dir / 'epochs').read_text().split() == ['1', '2', '3', '3', '4']
    assert study.runs[0].result()['attempts'] == 2


def test_a_finished_training_whose_test_failed_is_only_tested(study_dir, engine):
    (study_dir / 'tools' / 'test.py').write_text('raise SystemExit("later")')
    study = study_of(study_dir, engine=engine, seeds=[0])
    assert len(study.execute(Silent())) == 2
    (study_dir / 'tools' / 'test.py').write_text(TEST)
    (study_dir / 'tools' / 'train.py').write_text('raise SystemExit("never")')
    assert study.execute(Silent()) == []


def test_without_checkpoints_those_of_one_seed_stay(study_dir, engine):
    study = study_of(study_dir, engine=engine, keep_checkpoints=False, kept_seed=0)
    study.execute(Silent())
    assert [bool(list(run.work_dir.glob('*.pth'))) for run in study.runs] == [
        True,
        True,
        False,
        False,
    ]
    assert study_of(study_dir, engine=engine).execute(Silent()) == []
    assert epochs_of(study)['one', 1] == ['1', '2', '3', '4']


def test_a_changed_config_or_annotation_is_trained_anew(study_dir):
    study = study_of(study_dir, seeds=[0])
    study.execute(Silent())
    write_configs(study_dir, one=0)
    changed = study_of(study_dir, seeds=[0])
    one, two = changed.runs
    assert one.result() is None and two.result() is not None
    assert find_outdated(one.variant, study_dir / 'work') == [study.runs[0].work_dir.parent]
    assert find_outdated(two.variant, study_dir / 'work') == []
    changed.execute(Silent())
    assert one.result()['metrics']['recall'] == 0
    # Back again, the old results are found again.
    write_configs(study_dir)
    assert all(run.result() for run in study_of(study_dir, seeds=[0]).runs)
    annotations = study_dir / 'annotation_val.odgt'
    annotations.write_text(annotations.read_text().replace('"a"', '"b"'))
    assert not any(run.result() for run in study_of(study_dir, seeds=[0]).runs)


def test_weights_of_another_study_are_tested_elsewhere(study_dir):
    trained = study_of(study_dir)
    trained.execute(Silent())
    variants = [run.variant for run in trained.runs[:2]]
    diffs = {variant.name: {} for variant in variants}
    rows = result_rows(trained.runs, diffs, study_dir / 'work')
    write_results(study_dir / 'work', rows, [])

    # As mmengine writes a config again when it trains.
    for run in trained.runs:
        with open(run.work_dir / 'config.py', 'a') as file:
            file.write("launcher = 'none'\n")

    # Elsewhere only the first of the two people is there.
    (study_dir / 'other').mkdir()
    image = json.loads((study_dir / 'annotation_val.odgt').read_text())
    image['gtboxes'].pop()
    (study_dir / 'other' / 'people.odgt').write_text(json.dumps(image) + '\n')
    options = {'test_evaluator.ann_file': str(study_dir / 'other' / 'people.odgt')}

    def elsewhere(options):
        runs = plan_runs(load_variants(['one.py', 'two.py'], options), (0, 1), Path('elsewhere'))
        return Study(use_weights_of(runs, study_dir / 'work'), tools=study_dir / 'tools')

    study = elsewhere(options)
    assert study.execute(Silent()) == []
    assert [run.result()['metrics']['recall'] for run in study.runs] == [1, 1, 1, 1]
    for run, other in zip(study.runs, trained.runs, strict=True):
        assert str(other.work_dir) in run.result()['commands']['test'][3]
        assert 'train' not in run.result()['commands'] and not (run.work_dir / 'epochs').exists()
        assert not list(run.work_dir.glob('*.pth')) and list(other.work_dir.glob('*.pth'))
        assert (
            replace(run, weights_dir=run.work_dir).result() is None
        )  # other weights, to be tested

    with pytest.raises(ValueError, match=r'one, seed 0: train_cfg.max_epochs is 5, but 4 in'):
        elsewhere(dict(options, **{'train_cfg.max_epochs': 5}))
    (trained.runs[1].work_dir / 'epoch_4.pth').unlink()
    with pytest.raises(FileNotFoundError, match='no checkpoint in .*two.*seed0'):
        elsewhere(options)
    runs = plan_runs(variants, (7,), Path('elsewhere'))
    with pytest.raises(ValueError, match='no finished run one, seed 7; available: one, seed 0'):
        use_weights_of(runs, study_dir / 'work')
    with pytest.raises(
        FileNotFoundError, match='results.json not found: expected the work directory'
    ):
        ablate(['one.py'], (0,), Path('nowhere'), weights_of=Path('nothing'))
    assert not Path('nowhere').exists()


def test_equal_configs_are_trained_once(study_dir, engine):
    write_configs(study_dir, one=2, two=2)
    study = study_of(study_dir, engine=engine, seeds=[0])
    assert len(study.runs) == 1
    study.execute(Silent())
    runs = plan_runs(load_variants(['one.py', 'two.py']), [0], study_dir / 'work')
    assert len(runs) == 2 and all(run.result() for run in runs)


DRIVER = """
import signal, sys
from pathlib import Path
from stand_in_study import Silent, study_of
from mmdet_lla.ablation.engines import LocalEngine
signal.signal(signal.SIGINT, signal.default_int_handler)
directory, (sys.executable, name, *address) = Path.cwd(), sys.argv[1:]  # stand-ins import little
if name == 'ray':
    from mmdet_lla.ablation.engines.ray_engine import RayEngine
    engine = RayEngine(directory / 'work', *address, jobs=1, cpus_per_run=1)
else:
    engine = LocalEngine(jobs=2)
study_of(directory, {'model.waits_after': 2}, seeds=[0], engine=engine).execute(Silent())
"""


@pytest.mark.slow
@EVERY_ENGINE
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_study_ends_its_tools_and_resumes(
    study_dir, engine, number, python, request
):
    address, at_once = [], 2
    if engine.name == 'ray':  # one at a time: each that a driver starts imports torch
        address, at_once = [request.getfixturevalue('ray_cluster').address], 1
    path = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    work, log = study_dir / 'work', study_dir / 'log'

    def epochs():
        return [path.read_text().split() for path in sorted(work.glob('*/seed0/epochs'))]

    with (
        open(log, 'w') as file,
        started(
            [python, '-c', DRIVER, sys.executable, engine.name, *address],
            cwd=study_dir,
            env={**os.environ, 'PYTHONPATH': path},
            stderr=file,
        ) as driver,
    ):
        wait_until(
            lambda: epochs() == [['1', '2']] * at_once or driver.poll() is not None,
            f'{at_once} runs have trained two epochs',
        )
        assert driver.poll() is None, log.read_text()[-3000:]
        driver.send_signal(number)
        assert driver.wait(timeout=120) != 0
    # They notice that their driver is gone: those of Ray that it is closed, others that it died.
    wait_until(lambda: running_in(study_dir) == [], 'the tools have ended', 60)
    if number == signal.SIGINT:  # Ctrl-C lets tools end in order
        assert len(list(work.glob('*/seed0/ended'))) == at_once, log.read_text()[-3000:]
    (study_dir / 'go').touch()

    study = study_of(study_dir, {'model.waits_after': 2}, seeds=[0], engine=engine)
    assert study.execute(Silent()) == []
    assert sorted(run.result()['attempts'] for run in study.runs) == [at_once, 2]
    # no epoch was made twice
    assert epochs() == [['1', '2', '3', '4']] * 2


def test_only_broken_checkpoints_are_removed(tmp_path):
    repair_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'epoch_2.pth').write_bytes(b'')
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_2.pth')
    repair_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_config_of_a_run_keeps_two_checkpoints_and_leaves_out_the_last_validation():
    cfg = Config(dict(train_cfg=dict(max_epochs=12, val_interval=12), randomness=dict(diff=1)))
    own = run_config(cfg, 7)
    assert own.randomness == dict(diff=1, seed=7)
    assert own.default_hooks.checkpoint.max_keep_ckpts == 2
    assert own.train_cfg.val_begin == 13
    assert 'default_hooks' not in cfg and 'seed' not in cfg.randomness
    often = Config(dict(train_cfg=dict(max_iters=100, val_interval=10)))
    assert 'val_begin' not in run_config(often, 0).train_cfg


def test_reads_how_far_a_tool_is():
    line = '11/22 18:14:58 - mmengine - INFO - Epoch(train)  [3][ 10/120]  lr: 3e-05 loss: 2.8258'
    step = parse_step(line)
    assert step == ('train', 3, 10, 120, '2.8258')
    assert step.fraction(12) == pytest.approx((2 + 10 / 120) / 12)
    step = parse_step('Iter(train) [ 50/200]  loss: nan  loss_cls: 0.1')
    assert step == ('train', None, 50, 200, 'nan') and step.fraction() == 0.25
    assert parse_step('Epoch(test) [10/20]    eta: 0:00:03') == ('test', None, 10, 20, None)
    assert parse_step('Epoch(val) [10/20]    eta: 0:00:03') is None
    assert parse_step('Saving checkpoint at 2 epochs') is None


def test_a_killed_tool_is_reported(tmp_path):
    tool = tmp_path / 'tool.py'
    tool.write_text('import os\nprint("so far", flush=True)\nos.kill(os.getpid(), 9)')
    lines = ToolRunner().run([tool], tmp_path / 'log')
    assert next(lines) == 'so far\n'
    with pytest.raises(ToolFailed, match='SIGKILL.*out of memory') as error:
        next(lines)
    assert error.value.status == -9 and error.value.tail.endswith('so far')


def test_stopped_processes_start_nothing_more(tmp_path):
    tool = tmp_path / 'tool.py'
    tool.write_text('raise SystemExit("must not run")')
    tools = ToolRunner()
    tools.stop()
    with pytest.raises(Stopped):
        next(tools.run([tool], tmp_path / 'log'))


def test_progress_estimates_from_this_session_only():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    clock = Clock()
    with open(os.devnull, 'w') as stream:
        progress = StudyProgress(stream=stream, clock=clock)
        progress.add('a', done=True)
        for name in 'bcd':
            progress.add(name, done=False)
        assert progress.eta() is None and progress.fraction() == 0.25
        progress.update('b', 0.5, 'epoch 5')  # stood there already
        clock.now = 30.0
        progress.update('b', 0.75, 'epoch 7')
        # 0.25 runs in 30 s, 2.25 to go
        assert progress.eta() == pytest.approx(270)
        assert progress.line() == '1/4 runs | 0:00:30 elapsed | 0:04:30 left | b: epoch 7'
        progress.fail('c', 'broke')
        assert progress.fraction() == pytest.approx(0.6875) and '1 failed' in progress.line()


def test_a_log_gets_a_line_now_and_then(tmp_path):
    times = iter([0.0, 10.0, 100.0, 100.0, 100.0, 100.0, 100.0])
    with open(tmp_path / 'log', 'w') as stream:
        progress = StudyProgress(interval=60, stream=stream, clock=lambda: next(times))
        progress.add('a', done=False)
        progress.refresh()
        progress.refresh()
        progress.close()
    assert (tmp_path / 'log').read_text() == '  0 % | 0/1 runs | 0:01:40 elapsed\n'
