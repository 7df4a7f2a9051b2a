"""A few hundred of the cases of hostile.py; it runs any number."""

import numpy as np
import pytest
from test_reliability.hostile import CHECKS, check_annotations, hostile_boxes


@pytest.mark.parametrize('name', CHECKS)
def test_hostile_input_is_refused_or_answered(name):
    for seed in range(100):
        CHECKS[name][0](seed)


def test_broken_annotations_are_told_or_read_whole(tmp_path):
    outcomes = [check_annotations(seed, tmp_path) for seed in range(60)]
    assert outcomes.count('error') > 20 and outcomes.count('read') > 5


def test_boxes_are_hostile():
    boxes = hostile_boxes(np.random.default_rng(0), 1000)
    size = boxes[:, 2:] - boxes[:, :2]
    assert (size < 0).any() and (size == 0).any() and (size > 1e3).any() and (boxes < -5e3).any()
