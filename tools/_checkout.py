"""Imported by the tools first: lets them run from a checkout that is not installed."""

import importlib.util
import os
import sys
from pathlib import Path

PARENT = os.getppid()  # before the imports that take seconds, during which it may die

if importlib.util.find_spec('mmdet_lla') is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
