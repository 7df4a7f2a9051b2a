"""Switches of mmengine and mmdet that users change work with LLAHead, in one process and in two."""

import json

import numpy as np
import pytest
from programs import run_program
from test_reliability.switches import IN_TWO, ITERATIONS, SAME, SWITCHES, train


def check(name, losses, plain):
    """Four finite losses that change; equal to a plain training where a switch must not matter."""
    assert np.isfinite(losses).all() and len(losses) == ITERATIONS == len(set(losses))
    if name in SAME:
        np.testing.assert_allclose(losses, plain, rtol=1e-4)
    else:
        np.testing.assert_allclose(losses, plain, rtol=0.05)
        assert name == 'plain' or losses != plain or name in ('SyncBN', 'frozen backbone')


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return train('plain', tmp_path_factory.mktemp('plain'))


@pytest.mark.parametrize('name', SWITCHES)
def test_switch_in_one_process(name, plain, tmp_path):
    check(name, train(name, tmp_path), plain)


@pytest.fixture(scope='module')
def in_two(tmp_path_factory, python):
    """Losses by name, of each of two processes."""
    import test_reliability.switches as script

    done = run_program(python, script.__file__, tmp_path_factory.mktemp('two'))
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize('name', IN_TWO)
def test_switch_in_two_processes(name, in_two):
    for losses in in_two:
        assert name in losses, f'{list(losses)[-1]} ended the process'
        assert isinstance(losses[name], list), losses[name]
        check(name, losses[name], losses['plain'])
