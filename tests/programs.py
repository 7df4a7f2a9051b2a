"""Runs programs in processes of their own."""

import os
import subprocess
from pathlib import Path

TESTS = Path(__file__).parent
#: Where the package and the helpers of the tests are imported from.
SEARCH_PATH = os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / 'test_evaluation')))


def run_program(*command, cwd=None, **env) -> subprocess.CompletedProcess:
    """Run a command that must succeed, on one thread per process and without warnings."""
    settings = dict(OMP_NUM_THREADS='1', PYTHONPATH=SEARCH_PATH, PYTHONWARNINGS='ignore')
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **settings, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done
