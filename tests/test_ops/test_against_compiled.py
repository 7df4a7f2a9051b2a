"""mmdet_lla's operators against the compiled ones, where both are: `make test MMCV=full`."""

import importlib

import pytest
import random_cases

from mmdet_lla import ops

ext = importlib.import_module('mmcv._ext')


@pytest.mark.slow
@pytest.mark.skipif(not ext.__file__.endswith('.so'), reason='mmcv came without compiled operators')
@pytest.mark.parametrize('operator', random_cases.MODULES)
def test_operator_equals_the_compiled_one(operator):
    """2,000 random cases: results in their order, and gradients."""
    for seed in range(2000):
        random_cases.assert_same(operator, ops, ext, seed)
