"""What a result was made with."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import mmcv
import mmdet
import mmengine
import numpy
import torch

import mmdet_lla

from .engines.engine import num_cores

PACKAGES = (torch, mmengine, mmcv, mmdet, mmdet_lla, numpy)


def versions() -> dict[str, str | int | None]:
    """Versions of packages, the commit where there is one, and the machine."""
    found: dict[str, str | int | None] = {'python': platform.python_version()}
    for package in PACKAGES:
        found[package.__name__] = str(package.__version__)
    found['commit'] = _commit()
    found['cpu'] = _cpu()
    found['cores'] = num_cores()
    found['gpu'] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def _commit() -> str | None:
    """Commit of the checkout that the package is run from, with a + where it was changed."""

    def git(*args: str) -> str:
        return subprocess.run(
            ['git', '-C', str(folder), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    folder = Path(mmdet_lla.__file__).parent
    try:
        # The package may be installed somewhere inside another repository.
        if git('ls-files', '--', '__init__.py') != '__init__.py':
            return None
        changed = git('status', '--porcelain', '--untracked-files=no', '--', str(folder))
        return git('rev-parse', '--short=12', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')),
        platform.machine(),
    )
