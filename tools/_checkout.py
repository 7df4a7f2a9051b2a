"""Imported first by the scripts beside it: lets them run from a checkout that is not installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
