"""What the tests of pictures and recordings share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Detectors this small are quickest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
