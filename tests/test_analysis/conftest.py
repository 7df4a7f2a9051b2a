"""What the tests of pictures and recordings share."""

import os

import pytest
import torch
from stand_in_study import make_study


@pytest.fixture(autouse=True)
def one_thread():
    """Detectors this small are quickest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def ray_cluster():
    """A small cluster of Ray's in this process, joined."""
    ray = pytest.importorskip('ray', reason='the engine of Ray wants Ray (the extra ray)')
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level='WARNING')
    yield ray
    ray.shutdown()


@pytest.fixture
def study_folder(tmp_path, monkeypatch):
    """A folder with a study of stand-ins, which is the current one."""
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path)
    return tmp_path
