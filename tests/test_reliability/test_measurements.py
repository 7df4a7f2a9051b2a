"""The scripts that only people start run at a tiny size, and say what they promise."""

import importlib
import os
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_lla.ablation.engines import LocalEngine

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Import a script and hand it a command line, in a folder of its own."""
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


def test_memory_is_told_of_windows(load, monkeypatch, capsys):
    memory = load('memory', '--iterations', '4')
    monkeypatch.setattr(memory, 'WINDOW', 2)
    memory.main()
    *_, last = capsys.readouterr().out.splitlines()
    assert re.match(r'largest in iterations 3 to 4: [\d.]+ MB, .* growth [+-][\d.]+ MB', last)


def test_a_low_precision_trains(python):
    script = BENCHMARKS / 'reliability' / 'precision.py'
    done = subprocess.run(
        [python, script, '--iterations', '2', '--dtypes', 'bfloat16'],
        env=dict(os.environ, PYTHONPATH=str(BENCHMARKS.parent)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert re.search(
        r'bfloat16: 2 iterations, weights finite: True, loss over 2 iterations [\d.]+ at first',
        done.stdout,
    ), done.stderr[-3000:]


def test_launches_are_counted(load, python, tmp_path, monkeypatch, capsys):
    launches = load('launches', *'--launches 2 --processes 1 --busy 0'.split())
    started, run = [], subprocess.run

    def launch(command, env, cwd, **kwargs):
        """The first launch breaks down; then that runs which torchrun would start."""
        started.append(command)
        script, *words = map(Path, command[1:])
        assert script == cwd / 'dist_train.sh' and script.is_file()
        what = ['-c', 'raise SystemExit(7)'] if len(started) == 1 else [cwd / 'train.py', *words]
        env = dict(env, RANK='0', LOCAL_RANK='0', WORLD_SIZE='1')
        env.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=env['PORT'])
        return run([python, *what], env=env, cwd=cwd, **kwargs)

    monkeypatch.setattr(launches.subprocess, 'run', launch)
    assert launches.main() == 1
    said = capsys.readouterr().out
    assert '1 processes: 1 of 2 launches ended with exit status 0' in said
    assert '  1 with exit status 7\n' in said
    (folder,) = re.findall('What failed is in (.*)', said)
    assert (Path(folder) / 'failed_1_0.txt').is_file()


def test_the_training_whose_node_is_lost_is_one_run(load, tmp_path):
    lost_node = load('lost_node')
    (tmp_path / 'tiny.py').write_text(lost_node.CONFIG.format(root=lost_node.ROOT))
    (tmp_path / 'Images').mkdir()
    (tmp_path / 'annotation_train.odgt').touch()
    (tmp_path / 'annotation_val.odgt').touch()
    engine = LocalEngine(1, gpus=[])
    engine.work_dir = tmp_path / 'work'
    (run,) = lost_node.study_of(tmp_path, engine).runs
    assert run.variant.cfg.train_cfg.max_epochs == lost_node.EPOCHS
    MODELS.build(run.variant.cfg.model)
