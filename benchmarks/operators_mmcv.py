"""Time of mmdet_lla's operators beside mmcv's compiled ones, on the same inputs in one run.

``python benchmarks/operators_mmcv.py``, in an environment with a compiled mmcv (``make setup
MMCV=full``); without one it times ours alone. Rounds are interleaved, times are the processor's,
one thread, and ratios are ratios of medians of one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout, not installed
import mmcv._ext
import mmcv.ops

from mmdet_lla import ops

COMPILED = mmcv._ext.__file__.endswith('.so')


def crowd(boxes: int, people: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Detections about people on a picture of 1333 x 800 before NMS: corners and scores."""
    height = torch.rand(people, generator=generator) * 250 + 40
    size = torch.stack([height * 0.41, height], 1)
    centre = torch.rand(people, 2, generator=generator) * torch.tensor([1333, 800])
    who = torch.randint(people, (boxes,), generator=generator)
    noise = torch.randn(boxes, 4, generator=generator) * 0.1
    half = size[who] * (1 + noise[:, :2]) / 2
    middle = centre[who] + noise[:, 2:] * size[who]
    return torch.cat([middle - half, middle + half], 1), torch.rand(boxes, generator=generator)


def cases(scale: float) -> dict[str, tuple[str, Callable[[], object]]]:
    """What is timed: the module of mmcv.ops and a call of its function, by a description.

    Args:
        scale (float): Size of the inputs by that of the published table.
    """
    generator = torch.Generator().manual_seed(0)
    result = {}
    for count, people in ((1000, 30), (10000, 30), (10000, 300), (10000, 3000)):
        count = int(count * scale)
        boxes, scores = crowd(count, people, generator)
        result[f'nms, {count:,} boxes about {people:,} people'] = (
            'nms',
            lambda boxes=boxes, scores=scores: mmcv.ops.nms(boxes, scores, 0.6),
        )
    boxes, scores = crowd(int(1000 * scale), 100, generator)
    result[f'soft_nms, {len(boxes):,} boxes'] = ('nms', lambda: mmcv.ops.soft_nms(boxes, scores))

    height, width = int(100 * scale), int(168 * scale)
    maps = torch.rand(1, 256, height, width, generator=generator, requires_grad=True)
    part = crowd(max(1, int(256 * scale)), 30, generator)[0].clamp(min=0) * scale
    rois = torch.cat([torch.zeros(len(part), 1), part], 1)

    def pool() -> Tensor:
        return mmcv.ops.roi_align(maps, rois, 7, 1 / 8, 0, 'avg', True)

    name = f'roi_align, {len(rois)} boxes, 256 channels'
    result[name] = ('roi_align', pool)
    result[f'{name}, and back'] = ('roi_align', lambda: pool().sum().backward())

    half = torch.rand(1, 64, height // 2, width // 2, generator=generator, requires_grad=True)
    shifts = torch.randn(1, 18, *half.shape[2:], generator=generator).requires_grad_()
    weight = torch.rand(64, 64, 3, 3, generator=generator, requires_grad=True)

    def convolve() -> Tensor:
        return mmcv.ops.deform_conv2d(half, shifts, weight, 1, 1)

    name = f'deform_conv2d, 64 channels of {half.size(2)} x {half.size(3)}'
    result[name] = ('deform_conv', convolve)
    result[f'{name}, and back'] = ('deform_conv', lambda: convolve().sum().backward())
    return result


def seconds(module: str, operators, call: Callable[[], object]) -> float:
    """Processor time of a call with these operators behind mmcv's function."""
    owner = sys.modules[f'mmcv.ops.{module}']
    usual, owner.ext_module = owner.ext_module, operators
    try:
        start = time.process_time()
        call()
        return time.process_time() - start
    finally:
        owner.ext_module = usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--scale', type=float, default=1.0, help='smaller inputs: under 1')
    args = parser.parse_args()
    torch.set_num_threads(1)
    print('| ms of processor time | ours | compiled | ours : compiled |\n| --- | --- | --- | --- |')
    for name, (module, call) in cases(args.scale).items():
        rivals = [ops, mmcv._ext] if COMPILED else [ops]
        rounds = [[seconds(module, rival, call) for rival in rivals] for _ in range(args.rounds)]
        times = [statistics.median(column) for column in zip(*rounds, strict=True)]
        cells = [f'{value * 1e3:.1f}' for value in times]
        cells += [f'{times[0] / times[1]:.2f}'] if COMPILED else ['-', '-']
        print(f'| {name} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
