"""mmcv's operators as plain loops over boxes and samples."""

import math

import numpy as np
import torch


def iou(one, other, offset=0):
    """IoU of two boxes of float32 corners, each step rounded as the compiled operator does."""
    one, other, zero = np.asarray(one), np.asarray(other), np.float32(0)
    areas = [
        (box[2] - box[0] + np.float32(offset)) * (box[3] - box[1] + np.float32(offset))
        for box in (one, other)
    ]
    width, height = (
        max(zero, min(one[2 + side], other[2 + side]) - max(one[side], other[side]) + offset)
        for side in (0, 1)
    )
    intersection = np.float32(width * height)
    with np.errstate(divide='ignore', invalid='ignore'):
        return intersection / (areas[0] + areas[1] - intersection)


def nms(boxes, scores, iou_threshold, offset):
    """Indices of the boxes that stay."""
    order, kept = scores.sort(0, descending=True)[1].tolist(), []
    boxes = boxes.numpy()
    for index in order:
        if not any(
            iou(boxes[best], boxes[index], offset) > np.float32(iou_threshold) for best in kept
        ):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long)


def soft_nms(boxes, scores, iou_threshold, sigma, min_score, method, offset):
    """Rows of corners and scores, and indices of what is left."""
    left = [
        [*box, score, index]
        for index, (*box, score) in enumerate(zip(*boxes.numpy().T, scores.numpy(), strict=True))
    ]
    first = 0
    while first < len(left):
        best = first
        for place in range(first + 1, len(left)):
            if left[place][4] > left[best][4]:
                best = place
        left[first], left[best] = left[best], left[first]
        place = first + 1
        while place < len(left):
            overlap = iou(left[first][:4], left[place][:4], offset)
            weight = np.float32(1)
            if method == 'gaussian':
                weight = np.float32(math.exp(-overlap * overlap / np.float32(sigma)))
            elif overlap >= np.float32(iou_threshold):
                weight = np.float32(0) if method == 'naive' else 1 - overlap
            left[place][4] *= weight
            if left[place][4] < np.float32(min_score):
                left[place] = left[-1]
                left.pop()
            else:
                place += 1
        first += 1
    rows = torch.tensor(np.array([row[:5] for row in left], dtype=np.float32).reshape(-1, 5))
    return rows, torch.tensor([row[5] for row in left], dtype=torch.long)


def bilinear(channel, y, x, beyond):
    """Value of a (H, W) map between its cells; around it is its ``'edge'``, or nothing."""
    height, width = channel.shape
    if beyond == 'edge':
        if not (-1 <= y <= height and -1 <= x <= width):
            return channel.new_zeros(())
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    elif not (-1 < y < height and -1 < x < width):
        return channel.new_zeros(())
    value = channel.new_zeros(())
    for row, weight_y in (
        (math.floor(y), 1 - (y - math.floor(y))),
        (math.floor(y) + 1, y - math.floor(y)),
    ):
        for column, weight_x in (
            (math.floor(x), 1 - (x - math.floor(x))),
            (math.floor(x) + 1, x - math.floor(x)),
        ):
            if 0 <= row < height and 0 <= column < width:
                value = value + weight_y * weight_x * channel[row, column]
    return value


def roi_align(maps, rois, size, scale, sampling_ratio, aligned):
    """(R, C, h, w) pooled values."""
    output = maps.new_zeros(len(rois), maps.size(1), *size)
    for number, (image, *corners) in enumerate(rois.tolist()):
        left, top, right, bottom = (corner * scale - aligned * 0.5 for corner in corners)
        height, width = bottom - top, right - left
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        bins = height / size[0], width / size[1]
        grid = [sampling_ratio or math.ceil(length) for length in bins]
        for channel in range(maps.size(1)):
            for row in range(size[0]):
                for column in range(size[1]):
                    values = [
                        bilinear(
                            maps[int(image), channel],
                            top + (row + (i + 0.5) / grid[0]) * bins[0],
                            left + (column + (j + 0.5) / grid[1]) * bins[1],
                            'edge',
                        )
                        for i in range(grid[0])
                        for j in range(grid[1])
                    ]
                    output[number, channel, row, column] = sum(values) / max(len(values), 1)
    return output


def deform_conv(maps, offset, weight, stride, padding, dilation, groups, deform_groups):
    """(B, D, h, w) result of a deformable convolution."""
    images, channels = maps.shape[:2]
    kernel_h, kernel_w = weight.shape[2:]
    output = maps.new_zeros(images, len(weight), *offset.shape[2:])
    per_group, per_offset = channels // groups, channels // deform_groups
    for image, out, row, column in np.ndindex(*output.shape):
        value = maps.new_zeros(())
        group = out // (len(weight) // groups)
        for channel, i, j in np.ndindex(per_group, kernel_h, kernel_w):
            source = group * per_group + channel
            point = (source // per_offset) * kernel_h * kernel_w + i * kernel_w + j
            shift = offset[image, 2 * point : 2 * point + 2, row, column].tolist()
            y = row * stride[0] - padding[0] + i * dilation[0] + shift[0]
            x = column * stride[1] - padding[1] + j * dilation[1] + shift[1]
            met = bilinear(maps[image, source], y, x, 'nothing')
            value = value + weight[out, channel, i, j] * met
        output[image, out, row, column] = value
    return output
