"""torchvision's operators, where they are installed and work."""

from functools import cache
from typing import Any

import torch


@cache
def torchvision_ops(device_type: str) -> Any:
    """Return ``torchvision.ops``, or None on the CPU, where ours are as fast, and if they fail.

    A torchvision built for another torch fails on import, one without the operators of a device
    on the first call.

    Args:
        device_type (str): As in ``tensor.device.type``.

    Example:
        >>> torchvision_ops('cpu') is None
        True
    """
    if device_type == 'cpu':
        return None
    try:
        from torchvision import ops

        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device_type)
        ops.nms(boxes, boxes[:, 2], 0.5)
    except Exception:  # then ours are used
        return None
    return ops
