"""Every exit path of a tool leaves the process group first, and has the right status."""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

from programs import run_program
from test_reliability import ways_out

from mmdet_lla.utils.children import end_with_parent

SCRIPT = Path(ways_out.__file__)


def test_every_exit_path_has_its_status():
    done = run_program(sys.executable, SCRIPT, '2', '1')
    statuses = json.loads(done.stdout)
    assert statuses.keys() == ways_out.WAYS.keys()
    for way, (_, _, allowed) in ways_out.WAYS.items():
        (got,) = statuses[way]
        assert set(got) <= allowed, (way, got)


def test_a_process_ends_with_its_parent():
    """In a session of its own too, as those have that torchrun starts."""
    there, here = os.pipe()
    parent = os.fork()
    if not parent:
        launcher = os.getpid()
        if not os.fork():
            os.setsid()
            end_with_parent(launcher)
            os.write(here, b'ready')
        time.sleep(300)
        os._exit(0)
    os.close(here)
    assert os.read(there, 5) == b'ready'
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert select.select([there], [], [], 60)[0], 'the process goes on'
    assert os.read(there, 1) == b''  # nobody is left who could write
    os.close(there)
