"""Child processes that end when their parent does, also when it is killed.

Run as a script, ``python children.py PARENT COMMAND...`` replaces itself by the command. In a
process with several threads this is safe, and ``preexec_fn`` of :class:`subprocess.Popen` is not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; on Linux only.

    Args:
        parent (int): Process ID of the parent, noted earlier. If it has ended since, this process
            exits at once.
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def ending_with_me(command: Sequence[str]) -> list[str]:
    """Return the command to start in place of another, so that it ends with this process.

    >>> import subprocess
    >>> subprocess.run(ending_with_me([sys.executable, '-c', 'print("done")']),
    ...                capture_output=True, text=True).stdout
    'done\\n'
    """
    return [sys.executable, '-I', '-S', os.path.abspath(__file__), str(os.getpid()), *command]


if __name__ == '__main__':
    end_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
