"""Fixtures of the analysis tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Run on one thread, which is fastest for detectors this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
