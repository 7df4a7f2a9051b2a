"""Trainings that are killed; benchmarks/reliability/kills.py kills more of them."""

import importlib.util
import os
import re
import signal
import time
from pathlib import Path

import pytest
from programs import run_program

from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'benchmarks' / 'reliability' / 'kills.py'
ONLY = 'epochs, checkpoints within'


@pytest.mark.slow
def test_killed_training_ends_with_the_same_weights(python):
    done = run_program(python, SCRIPT, *'--kills 3 --per-run 3'.split(), '--only', ONLY)
    assert re.search('3 kills in 1 runs, .*: 0 differences', done.stdout), done.stdout


def children(pid):
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            name, fields = stat.read_text().rsplit(')', 1)
        except OSError:
            continue
        if int(fields.split()[1]) == pid:
            found.append(int(name.split(' ')[0]))
    return found


def is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='looks for processes in /proc')
def test_data_workers_end_with_a_killed_training(tmp_path):
    spec = importlib.util.spec_from_file_location('kills', SCRIPT)
    kills = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    build_dataset(str(tmp_path / 'crowd'), 8, 1, CrowdParams(width=96, height=96), workers=1)
    cfg = kills.tiny_config(str(tmp_path / 'crowd'), str(tmp_path / 'work'), 'epochs', 2)
    cfg.train_cfg.max_epochs = 10000
    process = kills.start(cfg)
    end = time.time() + 120
    while not list(tmp_path.glob('work/*.pth')) and time.time() < end:
        time.sleep(0.1)
    workers = children(process.pid)
    assert len(workers) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    end = time.time() + 60
    while any(map(is_alive, workers)) and time.time() < end:
        time.sleep(0.2)
    assert not any(map(is_alive, workers))
