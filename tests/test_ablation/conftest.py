"""Fixtures of the ablation tests."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from stand_in_study import make_study

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def ray_cluster():
    """A small cluster of Ray's, joined; its processes find the helpers of the tests.

    Not of the session: leaving it has hung once after hundreds of other tests.
    """
    pytest.importorskip('ray', reason='the engine of Ray wants Ray (the extra ray)')
    from ray_nodes import cluster_of_one

    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get('PYTHONPATH')])])
    with patch.dict(os.environ, PYTHONPATH=path), cluster_of_one() as cluster:
        yield cluster


@pytest.fixture
def study_dir(tmp_path, monkeypatch):
    """A directory with a study of stand-ins, which is the current one."""
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path)
    return tmp_path
