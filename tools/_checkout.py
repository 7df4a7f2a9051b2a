"""Imported by the tools first: lets them run from a checkout that is not installed."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec('mmdet_lla') is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
