"""The tools of the set-up, which run on a bare Python and so belong to no package."""

import importlib
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def load(name):
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope='session')
def setup_env():
    return load('setup_env')


@pytest.fixture(scope='session')
def compile_mmcv():
    return load('compile_mmcv')
