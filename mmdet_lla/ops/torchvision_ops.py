"""torchvision's operators, where they are there and work."""

from functools import cache
from typing import Any

import torch


@cache
def torchvision_ops(device_type: str) -> Any:
    """``torchvision.ops``; None for the CPU, where ours are as fast, or if they do not work.

    A torchvision that was built for another torch fails at its import, one without the operators
    of a device at the first call.

    Args:
        device_type (str): As in ``tensor.device.type``.
    """
    if device_type == 'cpu':
        return None
    try:
        from torchvision import ops

        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device_type)
        ops.nms(boxes, boxes[:, 2], 0.5)
    except Exception:  # whatever it fails with, there are ours
        return None
    return ops
