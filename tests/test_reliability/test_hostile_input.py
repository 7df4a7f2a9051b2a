"""A few hundred of the cases of hostile.py, which runs any number."""

import numpy as np
import pytest
from test_reliability.hostile import CHECKS, hostile_boxes


@pytest.mark.parametrize('name', CHECKS)
def test_hostile_input_is_rejected_or_answered(name):
    for seed in range(100):
        CHECKS[name][0](seed)


def test_boxes_are_hostile():
    boxes = hostile_boxes(np.random.default_rng(0), 1000)
    size = boxes[:, 2:] - boxes[:, :2]
    assert (size < 0).any() and (size == 0).any() and (size > 1e3).any() and (boxes < -5e3).any()
