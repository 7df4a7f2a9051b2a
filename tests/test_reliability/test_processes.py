"""Several processes train and test as one process on the same images."""

import json
from pathlib import Path

import numpy as np
import pytest
from programs import run_program
from test_reliability.distributed_steps import SCENES, WORLDS

SCRIPT = Path(__file__).with_name('distributed_steps.py')
ROOT = SCRIPT.parents[2]


@pytest.fixture(scope='module')
def results(tmp_path_factory, python):
    """Of each number of processes."""
    directory = tmp_path_factory.mktemp('steps')
    run_program(python, SCRIPT, directory)
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
