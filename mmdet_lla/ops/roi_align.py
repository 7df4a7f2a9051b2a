"""RoIAlign (arXiv 1703.06870) with the signatures of mmcv's operators.

A bilinear sample is a weight for every row times one for every column, and so is the mean of a grid
of samples: pooling a box is two products of small matrices with the part of the map it lies on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

#: Numbers that the weights of the boxes that are worked on at once may hold.
_MAX_WEIGHTS = 1 << 22
#: What a maximum starts from.
_LOWEST = -10000


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
    """Pool each box from a map into a grid of bins.

    Args:
        input (Tensor): (B, C, H, W).
        rois (Tensor): (R, 5) pictures and corners in pixels of the picture.
        output (Tensor): (R, C, h, w), becomes the pooled values.
        argmax_y, argmax_x (Tensor): Like ``output``, become the places of the maxima on the map;
            -1 where there is none. Empty for means.
        aligned_height, aligned_width (int): h and w.
        spatial_scale (float): Size of the map by size of the picture.
        sampling_ratio (int): Samples of a bin along each side; 0 for one a cell of the map.
        pool_mode (int): 0 for the maximum of the samples of a bin, 1 for their mean.
        aligned (bool): Whether cells have their centres at halves.

    Raises:
        ValueError: A box has a negative size, and ``aligned``.
    """
    if not rois.numel() or not input.size(1):
        return
    size = aligned_height, aligned_width
    torchvision = torchvision_ops(input.device.type) if pool_mode == 1 else None
    if torchvision is not None:
        _check_sizes(rois, aligned)
        output.copy_(
            torchvision.roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned)
        )
        return
    with torch.autocast(input.device.type, enabled=False):
        maps = _channels_last(input)
        for boxes in _grids(rois, size, spatial_scale, sampling_ratio, aligned, input.shape[2:]):
            if pool_mode == 1:
                _pool_means(maps, boxes, output)
            else:
                _pool_maxima(maps, boxes, output, argmax_y, argmax_x)


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
    """Add to ``grad_input`` the derivative of :func:`roi_align_forward` by the map.

    Args:
        grad_output (Tensor): (R, C, h, w).
        grad_input (Tensor): (B, C, H, W).
    """
    if not grad_output.numel():
        return
    size = aligned_height, aligned_width
    with torch.autocast(grad_input.device.type, enabled=False):
        grads = _channels_last(grad_output)
        total = grads.new_zeros(*grad_input.shape[:1], *grad_input.shape[2:], grad_input.size(1))
        if pool_mode == 0:
            _spread_maxima(grads, rois, _channels_last(argmax_y), _channels_last(argmax_x), total)
        else:
            hw = grad_input.shape[2:]
            for boxes in _grids(rois, size, spatial_scale, sampling_ratio, aligned, hw):
                _spread_means(grads, boxes, total)
        grad_input += total.permute(0, 3, 1, 2)


class _Samples(NamedTuple):
    """Where R boxes are sampled along one side of the map, N bins of S samples each.

    Attributes:
        places (Tensor): (R, N, S) cells of the map, with fractions.
        low, high (Tensor): (R, N, S) int64, the cells around them.
        weight_low, weight_high (Tensor): (R, N, S), what these count; 0 off the map.
        counts (Tensor): (R,), samples of each bin.
    """

    places: Tensor
    low: Tensor
    high: Tensor
    weight_low: Tensor
    weight_high: Tensor
    counts: Tensor

    def of(self, index: int) -> '_Samples':
        """The (N, S) samples of one box, without those that are there for others."""
        own = slice(int(self.counts[index]))
        return _Samples(*(field[index, :, own] for field in self[:-1]), self.counts[index])

    def weights(self, length: int) -> Tensor:
        """(R, N, length), what each cell counts in the sum of a bin's samples."""
        weights = self.places.new_zeros(*self.places.shape[:2], length)
        weights.scatter_add_(2, self.low, self.weight_low)
        return weights.scatter_add_(2, self.high, self.weight_high)


class _Boxes(NamedTuple):
    """Some of the boxes: their indices from ``first`` on, pictures, and samples along each side."""

    first: int
    pictures: list[int]
    y: _Samples
    x: _Samples


def _channels_last(maps: Tensor) -> Tensor:
    """(B, H, W, C) of (B, C, H, W), in single precision at least."""
    maps = maps.permute(0, 2, 3, 1)
    return (maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps).contiguous()


def _check_sizes(rois: Tensor, aligned: bool) -> None:
    """Refuse what the operator refuses, and what it would read beyond its memory for."""
    fits = rois.isfinite().all(1)
    if aligned:
        fits &= (rois[:, 3:] >= rois[:, 1:3]).all(1)
    if not fits.all():
        bad = fits.logical_not().nonzero()[0, 0].item()
        raise ValueError(
            f'rois[{bad}] is {rois[bad].tolist()}; RoIAlign takes (picture, x1, y1, x2, y2), all '
            'finite and, if aligned, of no negative size'
        )


def _grids(
    rois: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    shape: tuple[int, int],
) -> Iterator[_Boxes]:
    """All boxes with their samples, as many at once as fit into memory."""
    _check_sizes(rois, aligned)
    rois = rois.float() if rois.dtype in (torch.float16, torch.bfloat16) else rois
    pictures = rois[:, 0].long().tolist()
    start, end = (
        rois[:, columns] * spatial_scale - (0.5 if aligned else 0) for columns in ([2, 1], [4, 3])
    )
    extent = end - start if aligned else (end - start).clamp(min=1)
    step = max(1, _MAX_WEIGHTS // (size[0] * shape[0] + size[1] * shape[1]))
    for first in range(0, len(rois), step):
        part = slice(first, first + step)
        sides = [
            _sample(start[part, side], extent[part, side], size[side], sampling_ratio, shape[side])
            for side in (0, 1)
        ]
        yield _Boxes(first, pictures[part], *sides)


def _sample(start: Tensor, extent: Tensor, bins: int, sampling_ratio: int, length: int) -> _Samples:
    """Samples of R boxes along a side of a map of that length; places as the operator rounds."""
    bin_size = extent / bins
    if sampling_ratio > 0:
        counts = torch.full_like(extent, sampling_ratio)
    else:
        counts = bin_size.ceil()
    counts = counts[:, None]
    offsets = torch.arange(max(int(counts.max()), 1), device=start.device).to(start) + 0.5
    counted = offsets < counts
    offsets = offsets.minimum(counts - 0.5)  # those of others, where the last one is anyway
    corners = start[:, None] + torch.arange(bins, device=start.device).to(start) * bin_size[:, None]
    steps = offsets * bin_size[:, None] / counts.clamp(min=1)
    places = corners[:, :, None] + steps[:, None]
    low, high, weight_low, weight_high = _around(places, length)
    counted = counted[:, None].to(places)
    return _Samples(places, low, high, weight_low * counted, weight_high * counted, counts[:, 0])


def _around(places: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells before and after each place on a side of that length, and their weights, 0 off it."""
    inside = ((places >= -1) & (places <= length)).to(places)
    places = places.clamp(0, length - 1)
    low = places.long()
    after = places - low
    return low, (low + 1).clamp(max=length - 1), (1 - after) * inside, after * inside


def _windows(boxes: _Boxes) -> Iterator[tuple[int, int, slice, slice]]:
    """Index, picture, rows and columns of the part of the map that each box lies on."""
    edges = [
        edge.tolist()
        for samples in (boxes.y, boxes.x)
        for edge in (samples.low.amin((1, 2)), samples.high.amax((1, 2)) + 1)
    ]
    for index, (picture, top, bottom, left, right) in enumerate(
        zip(boxes.pictures, *edges, strict=True)
    ):
        yield index, picture, slice(top, bottom), slice(left, right)


def _pool_means(maps: Tensor, boxes: _Boxes, output: Tensor) -> None:
    """Means of the samples of each bin, into ``output``; (B, H, W, C) maps."""
    weights_y = boxes.y.weights(maps.size(1))
    weights_y /= (boxes.y.counts * boxes.x.counts).clamp(min=1)[:, None, None]
    weights_x = boxes.x.weights(maps.size(2))
    for index, picture, rows, columns in _windows(boxes):
        part = maps[picture, rows, columns]
        by_rows = (weights_y[index, :, rows] @ part.flatten(1)).reshape(-1, *part.shape[1:])
        means = weights_x[index, :, columns] @ by_rows  # (h, w, C)
        output[boxes.first + index].copy_(means.permute(2, 0, 1))


def _spread_means(grads: Tensor, boxes: _Boxes, total: Tensor) -> None:
    """Add to ``total`` (B, H, W, C) what each cell counted in the means; (R, h, w, C) grads."""
    weights_y = boxes.y.weights(total.size(1))
    weights_y /= (boxes.y.counts * boxes.x.counts).clamp(min=1)[:, None, None]
    weights_x = boxes.x.weights(total.size(2))
    for index, picture, rows, columns in _windows(boxes):
        by_columns = weights_x[index, :, columns].T @ grads[boxes.first + index]
        part = weights_y[index, :, rows].T @ by_columns.flatten(1)
        total[picture, rows, columns] += part.reshape(-1, *by_columns.shape[1:])


def _pool_maxima(
    maps: Tensor, boxes: _Boxes, output: Tensor, argmax_y: Tensor, argmax_x: Tensor
) -> None:
    """Maxima of the samples of each bin and their places; (B, H, W, C) maps."""
    for index, picture in enumerate(boxes.pictures):
        y, x = boxes.y.of(index), boxes.x.of(index)
        bins_y, samples_y = y.places.shape
        bins_x, samples_x = x.places.shape
        target = boxes.first + index
        if not samples_y * samples_x:
            output[target], argmax_y[target], argmax_x[target] = _LOWEST, -1, -1
            continue
        values = sum(
            weight_y.reshape(-1, 1, 1)
            * weight_x.reshape(-1, 1)
            * maps[picture, cell_y.reshape(-1, 1), cell_x.reshape(-1)]
            for cell_y, weight_y in ((y.low, y.weight_low), (y.high, y.weight_high))
            for cell_x, weight_x in ((x.low, x.weight_low), (x.high, x.weight_high))
        )
        values = values.reshape(bins_y, samples_y, bins_x, samples_x, -1).permute(4, 0, 2, 1, 3)
        best, which = values.flatten(3).max(3)  # (C, h, w)
        found = best > _LOWEST
        rows = torch.arange(bins_y, device=which.device)[:, None]
        columns = torch.arange(bins_x, device=which.device)
        output[target] = best.where(found, _LOWEST)
        argmax_y[target] = y.places[rows, which // samples_x].where(found, -1)
        argmax_x[target] = x.places[columns, which % samples_x].where(found, -1)


def _spread_maxima(grads: Tensor, rois: Tensor, y: Tensor, x: Tensor, total: Tensor) -> None:
    """Add to ``total`` (B, H, W, C) what each cell counted in the maxima.

    Args:
        grads (Tensor): (R, h, w, C).
        rois (Tensor): (R, 5), of which the pictures count.
        y, x (Tensor): (R, h, w, C), places of the maxima, -1 where there is none.
    """
    _, height, width, channels = total.shape
    grads = grads * (y != -1)
    pictures = rois[:, 0].long().reshape(-1, 1, 1, 1)
    low_y, high_y, weight_low_y, weight_high_y = _around(y, height)
    low_x, high_x, weight_low_x, weight_high_x = _around(x, width)
    for cell_y, weight_y in ((low_y, weight_low_y), (high_y, weight_high_y)):
        for cell_x, weight_x in ((low_x, weight_low_x), (high_x, weight_high_x)):
            cells = (pictures * height + cell_y) * width + cell_x
            places = cells * channels + torch.arange(channels, device=cells.device)
            counted = grads * (weight_y * weight_x)
            total.view(-1).index_add_(0, places.flatten(), counted.flatten())
