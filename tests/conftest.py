"""What every test shares."""

import sys
from pathlib import Path

import torch

import mmdet_lla  # noqa: F401  (registers)

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(2)
