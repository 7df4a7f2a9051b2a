"""Several processes train and test as one does on the same pictures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_reliability.distributed_steps import SCENES

SCRIPT = Path(__file__).with_name('distributed_steps.py')
ROOT = SCRIPT.parents[2]


def result(folder, processes):
    out = folder / f'{processes}.json'
    launch = []
    if processes > 1:
        launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes)]
    env = dict(
        os.environ,
        OMP_NUM_THREADS='1',
        PYTHONWARNINGS='ignore',
        PYTHONPATH=os.pathsep.join(
            map(str, (ROOT, ROOT / 'tests', ROOT / 'tests' / 'test_evaluation'))
        ),
    )
    done = subprocess.run(
        [sys.executable, *launch, str(SCRIPT), str(out)],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    return result(tmp_path_factory.mktemp('one'), 1)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 4])
def test_processes_equal_one(one, tmp_path, processes):
    several = result(tmp_path, processes)
    assert several['metrics'] == one['metrics'] and several['metrics']['crowd_human/mAP'] > 0
    assert len(several) >= len(SCENES)
    for scene in several.keys() - {'metrics'}:
        for key in ('losses', 'weights', 'norm'):
            np.testing.assert_allclose(
                several[scene][key], one[scene][key], rtol=1e-5, atol=1e-7, err_msg=(scene, key)
            )
