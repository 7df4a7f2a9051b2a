"""What every test shares."""

import gc
import os
import signal
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
import torch._dynamo  # which the first optimizer would import, after what is kept from the search
from forked_python import forked_python
from hypothesis import settings
from mmengine.config import utils

import mmdet_lla  # noqa: F401  (registers)

gc.disable()  # what is imported and collected is no garbage
# What a shell starts in the background ignores Ctrl-C, and so would all tools that tests start, for
# ever: the setting is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
# For every base of mmdet's that a config names, mmengine parses all of mmdet's metafiles.
utils.load = cache(utils.load)
torch.set_num_threads(1)  # tensors are small, and idle threads spin
# No deadlines: a busy machine is no bug. CI draws the same examples every time, people new ones.
settings.register_profile('patient', deadline=None, derandomize='CI' in os.environ)
settings.load_profile('patient')


def pytest_collection_finish():
    """Look for garbage in what comes from here on; in all there is took a seventh of the time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope='session')
def python():
    """What to start tools with instead of ``sys.executable``, which imports for seconds."""
    with (
        tempfile.TemporaryDirectory(prefix='python') as folder,
        forked_python(Path(folder)) as program,
    ):
        yield program
