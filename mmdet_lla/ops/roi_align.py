"""RoIAlign (arXiv 1703.06870), mean of samples, with the signatures of mmcv's operators.

A bilinear sample is a weight per row times a weight per column, and so is the mean of a grid of
samples: pooling a box is two products of small matrices with the part of the map under the box.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

#: Maximum number of weights in memory at a time.
_MAX_WEIGHTS = 1 << 22


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool each box from a feature map into a grid of bins.

    Args:
        input (Tensor): (B, C, H, W).
        rois (Tensor): Image index and corners in pixels of the image, (R, 5).
        output (Tensor): Receives the pooled values, (R, C, h, w).
        argmax_y, argmax_x (Tensor): Unused; they belong to the maximum.
        aligned_height, aligned_width (int): h and w.
        spatial_scale (float): Size of the map divided by the size of the image.
        sampling_ratio (int): Samples of a bin along each side; 0 for one per cell of the map.
        pool_mode (int): 1, the mean; the maximum is not implemented.
        aligned (bool): Whether cell centers lie at halves.

    Raises:
        ValueError: A box is not finite, or has a negative size and ``aligned`` is set.

    Example:
        >>> output, empty = torch.empty(1, 1, 1, 1), torch.empty(0)
        >>> rois = torch.tensor([[0.0, 0, 0, 2, 2]])
        >>> roi_align_forward(
        ...     torch.ones(1, 1, 4, 4), rois, output, empty, empty, 1, 1, 1.0, 0, 1, True)
        >>> output.item()
        1.0
    """
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled operators; "
            'docs/guides/set-up.md describes how to build them'
        )
    if not rois.numel() or not input.size(1):
        return
    _check_rois(rois, aligned)
    size = aligned_height, aligned_width
    torchvision = torchvision_ops(input.device.type)
    if torchvision is not None:
        output.copy_(
            torchvision.roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned)
        )
        return
    with torch.autocast(input.device.type, enabled=False):
        maps = _to_channels_last(input)
        for box in _sample_boxes(rois, size, spatial_scale, sampling_ratio, aligned, maps.shape):
            part = maps[box.image, box.rows, box.columns]  # (rows, columns, C)
            by_rows = (box.weights_y @ part.flatten(1)).reshape(-1, *part.shape[1:])
            pooled = box.weights_x @ by_rows  # (h, w, C)
            output[box.index].copy_(pooled.permute(2, 0, 1))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of :func:`roi_align_forward` by the map to ``grad_input``.

    Args:
        grad_output (Tensor): (R, C, h, w).
        grad_input (Tensor): (B, C, H, W).
    """
    if not grad_output.numel():
        return
    size = aligned_height, aligned_width
    with torch.autocast(grad_input.device.type, enabled=False):
        grads = _to_channels_last(grad_output)
        total = _to_channels_last(torch.zeros_like(grad_input))
        for box in _sample_boxes(rois, size, spatial_scale, sampling_ratio, aligned, total.shape):
            by_columns = box.weights_x.T @ grads[box.index]  # (h, columns, C)
            part = box.weights_y.T @ by_columns.flatten(1)
            total[box.image, box.rows, box.columns] += part.reshape(-1, *by_columns.shape[1:])
        grad_input += total.permute(0, 3, 1, 2)


class _SampledBox(NamedTuple):
    """A box and the part of the map that its samples touch.

    Attributes:
        weights_y (Tensor): (h, rows), weights of the rows in the mean of each bin.
        weights_x (Tensor): (w, columns).
    """

    index: int
    image: int
    rows: slice
    columns: slice
    weights_y: Tensor
    weights_x: Tensor


def _to_channels_last(maps: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C), in float32 at least."""
    maps = maps.permute(0, 2, 3, 1)
    return (maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps).contiguous()


def _check_rois(rois: Tensor, aligned: bool) -> None:
    valid = rois.isfinite().all(1)
    if aligned:
        valid &= (rois[:, 3:] >= rois[:, 1:3]).all(1)
    if not valid.all():
        first = valid.logical_not().nonzero()[0, 0].item()
        raise ValueError(
            f'rois[{first}] is {rois[first].tolist()}; RoIAlign takes (image, x1, y1, x2, y2), all '
            'finite and, if aligned, of no negative size'
        )


def _sample_boxes(
    rois: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    shape: tuple[int, ...],
) -> Iterator[_SampledBox]:
    """Sample every box on maps of shape (B, H, W, C)."""
    rois = rois.float() if rois.dtype in (torch.float16, torch.bfloat16) else rois
    images = rois[:, 0].long().tolist()
    start, end = (
        rois[:, columns] * spatial_scale - (0.5 if aligned else 0) for columns in ([2, 1], [4, 3])
    )
    extent = end - start if aligned else (end - start).clamp(min=1)
    step = max(1, _MAX_WEIGHTS // (size[0] * shape[1] + size[1] * shape[2]))
    for first in range(0, len(rois), step):
        part = slice(first, first + step)
        (weights_y, rows), (weights_x, columns) = (
            _sample_side(
                start[part, side], extent[part, side], size[side], sampling_ratio, shape[1 + side]
            )
            for side in (0, 1)
        )
        for i, image in enumerate(images[part]):
            yield _SampledBox(
                first + i,
                image,
                rows[i],
                columns[i],
                weights_y[i, :, rows[i]],
                weights_x[i, :, columns[i]],
            )


def _sample_side(
    start: Tensor, extent: Tensor, bins: int, sampling_ratio: int, length: int
) -> tuple[Tensor, list[slice]]:
    """Compute weights (R, bins, length) along one side, and the cells with samples of each box.

    Positions are rounded as the compiled operator rounds them.
    """
    bin_size = extent / bins
    counts = torch.full_like(extent, sampling_ratio) if sampling_ratio > 0 else bin_size.ceil()
    counts = counts[:, None]  # samples per bin, (R, 1)
    offsets = torch.arange(max(int(counts.max()), 1), device=start.device).to(start) + 0.5
    valid = offsets < counts  # (R, S)
    offsets = offsets.minimum(counts - 0.5)  # boxes with fewer samples repeat their last one
    corners = start[:, None] + torch.arange(bins, device=start.device).to(start) * bin_size[:, None]
    steps = offsets * bin_size[:, None] / counts.clamp(min=1)
    position = corners[:, :, None] + steps[:, None]  # (R, bins, S)

    inside = (position >= -1) & (position <= length) & valid[:, None]
    position = position.clamp(0, length - 1)
    low = position.long()
    high = (low + 1).clamp(max=length - 1)
    scale = inside / counts.clamp(min=1)[:, :, None]
    weights = position.new_zeros(*position.shape[:2], length)
    weights.scatter_add_(2, low, (1 - (position - low)) * scale)
    weights.scatter_add_(2, high, (position - low) * scale)
    bounds = zip(low.amin((1, 2)).tolist(), high.amax((1, 2)).tolist(), strict=True)
    return weights, [slice(first, last + 1) for first, last in bounds]
