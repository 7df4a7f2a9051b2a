"""Fixtures and settings that all tests share."""

import gc
import os
import shutil
import signal
import tempfile
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

import pytest
import torch
import torch._dynamo  # which the first optimizer would import, after what is kept from the search
from forked_python import forked_python
from hypothesis import settings
from mmengine.config import utils

import mmdet_lla  # noqa: F401  (registers)

#: Of this run, for all that its processes leave; short, because Ray's sockets lie in it.
TEMPORARY = os.environ.get('MMDET_LLA_TESTS', '')
IS_OWNER = not TEMPORARY  # a worker of pytest-xdist uses the directory of the first process
TEMPORARY = TEMPORARY or tempfile.mkdtemp(prefix='lla')
os.environ['MMDET_LLA_TESTS'] = os.environ['TMPDIR'] = tempfile.tempdir = TEMPORARY
if IS_OWNER:  # at exit, after multiprocessing has removed its own directory below (-100)
    Finalize(None, shutil.rmtree, [TEMPORARY], {'ignore_errors': True}, exitpriority=-200)
gc.disable()  # what is imported and collected is not garbage
# A shell's background job ignores Ctrl-C, and all tools that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# For every base of mmdet's that a config names, mmengine parses all of mmdet's metafiles.
utils.load = cache(utils.load)
torch.set_num_threads(1)  # tensors are small, and idle threads spin
# No deadlines: a busy machine is no bug. CI draws the same examples every time.
settings.register_profile('patient', deadline=None, derandomize='CI' in os.environ)
settings.load_profile('patient')


def pytest_collection_finish():
    """Exclude the imports from garbage collection, which saves a seventh of the time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope='session')
def python():
    """Return an interpreter for tools that starts faster than ``sys.executable``."""
    with (
        tempfile.TemporaryDirectory(prefix='py') as directory,
        forked_python(Path(directory)) as program,
    ):
        yield program
