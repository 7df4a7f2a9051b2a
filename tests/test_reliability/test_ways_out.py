"""Every way out of a tool leaves the other processes first, and tells the status it should."""

import json
import os
import subprocess
import sys
from pathlib import Path

from test_reliability import ways_out

SCRIPT = Path(ways_out.__file__)


def test_every_way_out_has_its_status():
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(SCRIPT), '2', '1'],
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    statuses = json.loads(done.stdout)
    assert statuses.keys() == ways_out.WAYS.keys()
    for way, (_, _, allowed) in ways_out.WAYS.items():
        (got,) = statuses[way]
        assert set(got) <= allowed, (way, got)
