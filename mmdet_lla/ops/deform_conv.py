"""Deformable convolution (arXiv 1703.06211, 1811.11168) with the signatures of mmcv's operators.

The values that a kernel meets at its shifted places are means of four cells of the map, weighted:
bags of four rows of a table that has a row of channels for every cell. What is left is a product of
matrices.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .torchvision_ops import torchvision_ops


class _Geometry(NamedTuple):
    """Stride, padding and dilation as (along y, along x), groups, groups of offsets."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolve a map with a kernel whose places are shifted by ``offset``.

    Args:
        input (Tensor): (B, C, H, W).
        weight (Tensor): (D, C / group, kH, kW).
        offset (Tensor): (B, deformable_group * kH * kW * 2, h, w) shifts in cells, y before x.
        output (Tensor): (B, D, h, w), becomes the result.
        columns, ones (Tensor): Memory for the compiled operator.
        kW, kH, dW, dH, padW, padH, dilationW, dilationH (int): Kernel, stride, padding, dilation.
        group (int): Groups of channels.
        deformable_group (int): Groups of channels that share offsets.
        im2col_step (int): Pictures at once in the compiled operator; here it is one.
    """
    geometry = _Geometry((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    with torch.no_grad():
        output.copy_(_convolve(input, offset, None, weight, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Derivatives of :func:`deform_conv_forward` by map and offsets, for ``gradOutput``."""
    geometry = _Geometry((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    grads = _derivatives(
        gradOutput, dict(input=input, offset=offset), dict(weight=weight, geometry=geometry)
    )
    gradInput += grads['input']
    gradOffset.copy_(grads['offset'])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Derivative of :func:`deform_conv_forward` by the kernel, times ``scale``."""
    geometry = _Geometry((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    weight = torch.zeros_like(gradWeight)
    grads = _derivatives(
        gradOutput, dict(weight=weight), dict(input=input, offset=offset, geometry=geometry)
    )
    gradWeight.add_(grads['weight'], alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """:func:`deform_conv_forward` whose places also count more or less.

    Args:
        mask (Tensor): (B, deformable_group * kernel_h * kernel_w, h, w), what each place counts.
        bias (Tensor): (D,), added if ``with_bias``.
    """
    geometry = _Geometry(
        (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group
    )
    with torch.no_grad():
        output.copy_(_convolve(input, offset, mask, weight, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Derivatives of :func:`modulated_deform_conv_forward` by all that it is given."""
    geometry = _Geometry(
        (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group
    )
    grads = _derivatives(
        grad_output,
        dict(input=input, offset=offset, mask=mask, weight=weight),
        dict(geometry=geometry),
    )
    grad_input += grads['input']
    grad_weight += grads['weight']
    grad_offset.copy_(grads['offset'])
    grad_mask.copy_(grads['mask'])
    if with_bias:
        grad_bias += grad_output.sum((0, 2, 3))


def _derivatives(grad_output: Tensor, by: dict[str, Tensor], rest: dict) -> dict[str, Tensor]:
    """Derivatives of :func:`_convolve` by the named arguments; the rest of them as they are."""
    leaves = {name: value.detach().requires_grad_() for name, value in by.items()}
    with torch.enable_grad():
        output = _convolve(**{'mask': None, 'bias': None, **leaves, **rest})
    grads = torch.autograd.grad(output, list(leaves.values()), grad_output.to(output.dtype))
    return dict(zip(leaves, grads, strict=True))


def _convolve(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    geometry: _Geometry,
) -> Tensor:
    """The convolution, which autograd can follow; in single precision at least."""
    _check_shapes(input, offset, mask, weight, geometry)
    low = input.dtype in (torch.float16, torch.bfloat16)
    input, offset, mask, weight, bias = (
        tensor.float() if low and tensor is not None else tensor
        for tensor in (input, offset, mask, weight, bias)
    )
    height, width = offset.shape[2:]
    kernels = weight.reshape(geometry.groups, -1, weight[0].numel())
    # Not for derivatives: torchvision's by offsets are others at -1, where the padding ends.
    torchvision = None if torch.is_grad_enabled() else torchvision_ops(input.device.type)
    with torch.autocast(input.device.type, enabled=False):
        if torchvision is not None:
            return torchvision.deform_conv2d(input, offset, weight, bias, *geometry[:3], mask=mask)
        # One picture at a time, as the columns are kH * kW times as large as the map.
        pictures = [
            (
                kernels
                @ _columns(
                    input[index],
                    offset[index],
                    None if mask is None else mask[index],
                    weight.shape[2:],
                    geometry,
                ).reshape(geometry.groups, kernels.size(2), -1)
            ).reshape(-1, height, width)
            for index in range(len(input))
        ]
        output = torch.stack(pictures)
        return output if bias is None else output + bias.reshape(-1, 1, 1)


def _columns(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    kernel: tuple[int, int],
    geometry: _Geometry,
) -> Tensor:
    """(C, kH * kW, h * w) values that the kernel meets; of a (C, H, W) map."""
    channels, height, width = input.shape
    groups, points = geometry.deform_groups, kernel[0] * kernel[1]
    size = offset.shape[1:]
    device = input.device
    cells = []
    for axis in (0, 1):
        taps = torch.arange(kernel[axis], device=device) * geometry.dilation[axis]
        steps = torch.arange(size[axis], device=device) * geometry.stride[axis]
        base = (taps[:, None] + steps - geometry.padding[axis]).to(offset)
        if axis == 0:
            base = base[:, None, :, None].expand(-1, kernel[1], -1, size[1])
        else:
            base = base[None, :, None, :].expand(kernel[0], -1, size[0], -1)
        shift = offset.reshape(groups, points, 2, *size)[:, :, axis]
        cells.append(base.reshape(points, *size) + shift)  # (groups, points, h, w)
    y, x = cells
    inside = (y > -1) & (x > -1) & (y < height) & (x < width)
    indices, weights = [], []
    first = torch.arange(groups, device=device).reshape(-1, 1, 1, 1) * (height * width)
    low_y, low_x = y.detach().floor(), x.detach().floor()
    for row, weight_y in ((low_y, 1 - (y - low_y)), (low_y + 1, y - low_y)):
        for column, weight_x in ((low_x, 1 - (x - low_x)), (low_x + 1, x - low_x)):
            on_map = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            cell = (row * width + column).where(on_map, 0).long()
            indices.append((cell + first).flatten())
            weights.append((weight_y * weight_x).where(on_map, 0).flatten())
    table = input.reshape(groups, channels // groups, -1).transpose(1, 2).flatten(0, 1)
    indices, weights = torch.stack(indices, 1), torch.stack(weights, 1)
    values = F.embedding_bag(indices, table, mode='sum', per_sample_weights=weights)
    values = values.reshape(groups, points, -1, channels // groups)
    if mask is not None:
        values = values * mask.reshape(groups, points, -1, 1)
    return values.permute(0, 3, 1, 2).flatten(0, 1)


def _check_shapes(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    geometry: _Geometry,
) -> None:
    """Refuse what does not fit together, as the operator does."""
    points = weight.size(2) * weight.size(3)
    size = [
        (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for length, kernel, stride, padding, dilation in zip(
            input.shape[2:], weight.shape[2:], *geometry[:3], strict=True
        )
    ]
    expected = {
        'offset': (offset, [len(input), geometry.deform_groups * points * 2, *size]),
        'mask': (mask, [len(input), geometry.deform_groups * points, *size]),
        'input': (input, [len(input), weight.size(1) * geometry.groups, *input.shape[2:]]),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and list(tensor.shape) != shape:
            raise ValueError(f'{name} has the shape {list(tensor.shape)}, not {shape}')
