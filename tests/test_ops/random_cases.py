"""Random inputs of mmcv's operators, and the comparison of two implementations.

Everything goes through mmcv's own functions, with their operators replaced.
"""

import sys
from types import ModuleType

import mmcv.ops
import numpy as np
import torch

#: The module of mmcv.ops that calls each operator, and the cases there are for it below.
MODULES = {
    'nms': 'nms',
    'soft_nms': 'nms',
    'roi_align': 'roi_align',
    'deform_conv': 'deform_conv',
}


#: Relative and absolute, where not all bits are the same; the convolutions and RoIAlign in double.
TOLERANCES = {
    'soft_nms': (1e-6, 0),
    'roi_align': (1e-9, 1e-11),
    'deform_conv': (1e-9, 1e-11),
}


def boxes_of_a_crowd(rng, count):
    """(N, 4) boxes around a few places, some equal, some empty, on whole pixels or not."""
    places = rng.uniform(0, 200, (max(1, count // 6), 2))
    centers = places[rng.integers(len(places), size=count)] + rng.normal(0, 5, (count, 2))
    sizes = rng.uniform(5, 60, (count, 2))
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], 1)
    if rng.random() < 0.5:
        boxes = boxes.round()
    if count and rng.random() < 0.3:
        boxes[rng.integers(count, size=count // 3 + 1)] = boxes[rng.integers(count)]
    if count and rng.random() < 0.2:
        boxes[rng.integers(count), 2:] = boxes[rng.integers(count), :2]
    return torch.from_numpy(boxes.astype(np.float32))


def scores_with_ties(rng, count):
    """(N,) scores, few different ones in half of the cases."""
    scores = rng.random(count).astype(np.float32)
    return torch.from_numpy(scores.round(1) if rng.random() < 0.5 else scores)


def case_nms(rng):
    count = int(rng.integers(0, 300))
    boxes, scores = boxes_of_a_crowd(rng, count), scores_with_ties(rng, count)
    threshold = float(rng.choice([0, 0.3, 0.5, 0.6, 0.7, 1, rng.random()]))
    options = dict(
        offset=int(rng.integers(2)),
        score_threshold=float(rng.choice([0, 0.3])),
        max_num=int(rng.choice([-1, 10])),
    )
    return lambda: mmcv.ops.nms(boxes, scores, threshold, **options)


def case_soft_nms(rng):
    count = int(rng.integers(0, 120))
    boxes, scores = boxes_of_a_crowd(rng, count), scores_with_ties(rng, count)
    options = dict(
        iou_threshold=float(rng.choice([0.3, 0.5, rng.random()])),
        sigma=float(rng.uniform(0.1, 1)),
        min_score=float(rng.choice([0, 1e-3, 0.1, 0.5])),
        method=str(rng.choice(['naive', 'linear', 'gaussian'])),
        offset=int(rng.integers(2)),
    )
    return lambda: mmcv.ops.soft_nms(boxes, scores, **options)


def normal(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape)).requires_grad_()


def case_roi_align(rng):
    images, channels, *size = (int(number) for number in rng.integers(1, [3, 4, 14, 14]))
    maps = normal(rng, images, channels, *size)
    count = int(rng.integers(0, 8))
    scale = float(rng.choice([1, 0.5, 0.25]))
    corners = rng.uniform(-4, 18, (count, 4)) / scale
    if rng.random() < 0.3:  # cells and their edges
        corners = corners.round()
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    rois = torch.from_numpy(
        np.concatenate([rng.integers(images, size=(count, 1)), corners], 1).astype(np.float64)
    )
    args = (
        tuple(int(number) for number in rng.integers(1, 5, 2)),
        scale,
        int(rng.integers(0, 4)),
        'avg',
        bool(rng.integers(2)),
    )
    weights = torch.from_numpy(rng.normal(size=(count, channels, *args[0])))

    def run():
        output = mmcv.ops.roi_align(maps, rois, *args)
        return [output, *torch.autograd.grad((output * weights).sum(), [maps])]

    return run


def convolution(rng):
    """Tensors and geometry of a deformable convolution, and the size of its output."""
    groups, deform_groups = int(rng.choice([1, 1, 2])), int(rng.choice([1, 1, 2]))
    channels = 2 * int(rng.integers(1, 3))
    kernel = [int(number) for number in rng.integers(1, 4, 2)]
    stride, padding, dilation = (
        tuple(int(number) for number in rng.integers(low, high, 2))
        for low, high in ((1, 3), (0, 3), (1, 3))
    )
    size = [
        int(rng.integers(max(edge, step * (edge - 1) + 1 - 2 * pad), 9 + edge))
        for edge, pad, step in zip(kernel, padding, dilation, strict=True)
    ]
    out = [
        (length + 2 * pad - step * (edge - 1) - 1) // hop + 1
        for length, edge, pad, step, hop in zip(
            size, kernel, padding, dilation, stride, strict=True
        )
    ]
    images, points = int(rng.integers(1, 3)), deform_groups * kernel[0] * kernel[1]
    maps = normal(rng, images, channels, *size)
    spread = rng.choice([0, 0.5, 3])  # 0 as at the start of a training: on the cells
    offset = (normal(rng, images, 2 * points, *out).detach() * spread).requires_grad_()
    weight = normal(rng, 2 * int(rng.integers(1, 3)), channels // groups, *kernel)
    geometry = (stride, padding, dilation, groups, deform_groups)
    return [maps, offset, weight], geometry, out


def case_deform_conv(rng):
    tensors, geometry, out = convolution(rng)
    weights = torch.from_numpy(rng.normal(size=(len(tensors[0]), len(tensors[-1]), *out)))

    def run():
        output = mmcv.ops.deform_conv2d(*tensors, *geometry)
        return [output, *torch.autograd.grad((output * weights).sum(), tensors)]

    return run


def results(operator, operators: ModuleType, run):
    """What ``run`` returns, a list of tensors, with these operators behind mmcv's function."""
    module = sys.modules['mmcv.ops.' + MODULES[operator]]
    usual, module.ext_module = module.ext_module, operators
    try:
        return [torch.as_tensor(part) for part in run()]
    finally:
        module.ext_module = usual


def assert_same(operator, operators, others, seed):
    """Both do the same with the case of that seed: boxes exactly, sums to the rounding."""
    run = globals()[f'case_{operator}'](np.random.default_rng(seed))
    ours, theirs = results(operator, operators, run), results(operator, others, run)
    assert len(ours) == len(theirs), (operator, seed)
    # Sums in another order, and exp, whose last bit is the C library's own.
    rtol, atol = TOLERANCES.get(operator, (0, 0))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            one,
            other,
            rtol=rtol,
            atol=atol,
            equal_nan=True,
            msg=lambda text: f'{operator}, seed {seed}: {text}',
        )
