"""A training on a really full disk; benchmarks/reliability/full_disk.py does it more often."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def may_mount(tmp_path):
    probe = subprocess.run(
        ['unshare', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', str(tmp_path)],
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        pytest.skip(f'nothing may be mounted here: {probe.stderr}')


@pytest.mark.slow
def test_full_disk_is_survived(may_mount, python):
    done = subprocess.run(
        [python, str(ROOT / 'benchmarks/reliability/full_disk.py'), '--times', '1'],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"1 times a full disk: \{'(a checkpoint|results)': 1\}; 0 diff", done.stdout
    ), done.stdout
