"""Deformable convolution (arXiv 1703.06211) with the signatures of mmcv's operators.

The value under a shifted kernel position is a weighted sum of four cells of the map: an embedding
bag over a table with one row of channels per cell. The rest is a matrix product.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .torchvision_ops import torchvision_ops


class _Geometry(NamedTuple):
    """Stride, padding and dilation as (y, x); groups of channels, and those of offsets."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int


def _read_geometry(settings: dict[str, int]) -> _Geometry:
    """Return the geometry in mmcv's keywords: ``dW``, ``padW``, ``dilationW`` and so on.

    ``kW`` and ``kH`` are those of the weight; ``im2col_step``, images at a time in the compiled
    operator, is always one here.
    """
    sides = ((settings[f'{name}H'], settings[f'{name}W']) for name in ('d', 'pad', 'dilation'))
    return _Geometry(*sides, settings['group'], settings['deformable_group'])


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **settings: int,
) -> None:
    """Convolve a map with a kernel whose positions are shifted by ``offset``.

    Args:
        input (Tensor): (B, C, H, W).
        weight (Tensor): (D, C / group, kH, kW).
        offset (Tensor): Shifts in cells, y before x, (B, deformable_group * kH * kW * 2, h, w).
        output (Tensor): Receives the result, (B, D, h, w).
        columns, ones (Tensor): Buffers of the compiled operator, unused.
        settings: See :func:`_read_geometry`.
    """
    with torch.no_grad():
        output.copy_(_convolve(input, offset, weight, _read_geometry(settings)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **settings: int,
) -> None:
    """Write the gradients of :func:`deform_conv_forward` by map and offsets."""
    input, offset = (value.detach().requires_grad_() for value in (input, offset))
    with torch.enable_grad():
        output = _convolve(input, offset, weight, _read_geometry(settings))
    grads = torch.autograd.grad(output, [input, offset], grad_output.to(output.dtype))
    grad_input += grads[0]
    grad_offset.copy_(grads[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **settings: int,
) -> None:
    """Add the gradient of :func:`deform_conv_forward` by the kernel, times ``scale``."""
    weight = torch.zeros_like(grad_weight).requires_grad_()
    with torch.enable_grad():
        output = _convolve(input, offset, weight, _read_geometry(settings))
    (grad,) = torch.autograd.grad(output, [weight], grad_output.to(output.dtype))
    grad_weight.add_(grad, alpha=scale)


def _convolve(input: Tensor, offset: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
    """The convolution, differentiable, in float32 at least."""
    _check_shapes(input, offset, weight, geometry)
    if input.dtype in (torch.float16, torch.bfloat16):
        input, offset, weight = input.float(), offset.float(), weight.float()
    height, width = offset.shape[2:]
    kernels = weight.reshape(geometry.groups, -1, weight[0].numel())
    # Not for gradients: torchvision's by offsets differ at -1, where the padding ends.
    torchvision = None if torch.is_grad_enabled() else torchvision_ops(input.device.type)
    with torch.autocast(input.device.type, enabled=False):
        if torchvision is not None:
            return torchvision.deform_conv2d(input, offset, weight, None, *geometry[:3])
        # one image at a time: the columns are kH * kW times as large as the map
        outputs = [
            kernels
            @ _make_columns(img_input, img_offset, weight.shape[2:], geometry).reshape(
                geometry.groups, kernels.size(2), -1
            )
            for img_input, img_offset in zip(input, offset, strict=True)
        ]
        return torch.stack([output.reshape(-1, height, width) for output in outputs])


def _make_columns(
    input: Tensor, offset: Tensor, kernel: tuple[int, int], geometry: _Geometry
) -> Tensor:
    """Values under the kernel, (C, kH * kW, h * w), of a map (C, H, W)."""
    channels, height, width = input.shape
    groups, points = geometry.deform_groups, kernel[0] * kernel[1]
    size = offset.shape[1:]
    device = input.device
    positions = []
    for axis in (0, 1):
        taps = torch.arange(kernel[axis], device=device) * geometry.dilation[axis]
        steps = torch.arange(size[axis], device=device) * geometry.stride[axis]
        base = (taps[:, None] + steps - geometry.padding[axis]).to(offset)
        if axis == 0:
            base = base[:, None, :, None].expand(-1, kernel[1], -1, size[1])
        else:
            base = base[None, :, None, :].expand(kernel[0], -1, size[0], -1)
        shift = offset.reshape(groups, points, 2, *size)[:, :, axis]
        positions.append(base.reshape(points, *size) + shift)  # (groups, points, h, w)
    y, x = positions
    inside = (y > -1) & (x > -1) & (y < height) & (x < width)
    indices, weights = [], []
    first = torch.arange(groups, device=device).reshape(-1, 1, 1, 1) * (height * width)
    low_y, low_x = y.detach().floor(), x.detach().floor()
    for row, weight_y in ((low_y, 1 - (y - low_y)), (low_y + 1, y - low_y)):
        for column, weight_x in ((low_x, 1 - (x - low_x)), (low_x + 1, x - low_x)):
            valid = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            cell = (row * width + column).where(valid, 0).long()
            indices.append((cell + first).flatten())
            weights.append((weight_y * weight_x).where(valid, 0).flatten())
    table = input.reshape(groups, channels // groups, -1).transpose(1, 2).flatten(0, 1)
    indices, weights = torch.stack(indices, 1), torch.stack(weights, 1)
    values = F.embedding_bag(indices, table, mode='sum', per_sample_weights=weights)
    values = values.reshape(groups, points, -1, channels // groups)
    return values.permute(0, 3, 1, 2).flatten(0, 1)


def _check_shapes(input: Tensor, offset: Tensor, weight: Tensor, geometry: _Geometry) -> None:
    """Raise ValueError for shapes that the operator rejects."""
    points = weight.size(2) * weight.size(3)
    size = [
        (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for length, kernel, stride, padding, dilation in zip(
            input.shape[2:], weight.shape[2:], *geometry[:3], strict=True
        )
    ]
    expected = {
        'offset': (offset, [len(input), geometry.deform_groups * points * 2, *size]),
        'input': (input, [len(input), weight.size(1) * geometry.groups, *input.shape[2:]]),
    }
    for name, (tensor, shape) in expected.items():
        if list(tensor.shape) != shape:
            raise ValueError(f'{name} has the shape {list(tensor.shape)}, not {shape}')
