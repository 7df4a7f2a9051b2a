"""Several processes train and test as one process on the same images."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_reliability.distributed_steps import SCENES, WORLDS

SCRIPT = Path(__file__).with_name('distributed_steps.py')
ROOT = SCRIPT.parents[2]


@pytest.fixture(scope='module')
def results(tmp_path_factory, python):
    """Of each number of processes."""
    directory = tmp_path_factory.mktemp('steps')
    done = subprocess.run(
        [python, '-W', 'ignore', SCRIPT, directory],
        env=dict(
            os.environ,
            OMP_NUM_THREADS='1',
            PYTHONPATH=os.pathsep.join(
                map(str, (ROOT, ROOT / 'tests', ROOT / 'tests' / 'test_evaluation'))
            ),
        ),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {world: json.loads((directory / f'{world}.json').read_text()) for world in WORLDS}


@pytest.mark.parametrize('processes', WORLDS[1:])
def test_processes_equal_one(results, processes):
    one, several = results[1], results[processes]
    assert several['metrics'] == one['metrics'] and several['metrics']['crowd_human/mAP'] > 0
    assert len(several) >= len(SCENES)
    for scene in several.keys() - {'metrics'}:
        for key in ('losses', 'weights', 'norm'):
            np.testing.assert_allclose(
                several[scene][key], one[scene][key], rtol=1e-5, atol=1e-7, err_msg=(scene, key)
            )
