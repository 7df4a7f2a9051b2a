"""Time of mmdet_lla's operators and mmcv's compiled ones on the same inputs.

``python benchmarks/operators_mmcv.py`` needs an environment with a compiled mmcv; without one it
measures ours alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from unittest.mock import patch

import harness
import torch

import mmdet_lla  # noqa: F401  (before mmcv: operators for mmcv-lite)

# isort: split
import mmcv._ext
import mmcv.ops
from torch import Tensor

from mmdet_lla import ops

COMPILED = (mmcv._ext.__file__ or '').endswith('.so')


def draw_crowd(num_boxes: int, num_people: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw boxes and scores of detections before NMS in an image of 1333 x 800."""
    height = torch.rand(num_people, generator=rng) * 250 + 40
    size = torch.stack([height * 0.41, height], 1)
    center = torch.rand(num_people, 2, generator=rng) * torch.tensor([1333, 800])
    person = torch.randint(num_people, (num_boxes,), generator=rng)
    noise = torch.randn(num_boxes, 4, generator=rng) * 0.1
    half = size[person] * (1 + noise[:, :2]) / 2
    middle = center[person] + noise[:, 2:] * size[person]
    return torch.cat([middle - half, middle + half], 1), torch.rand(num_boxes, generator=rng)


def make_cases(scale: float) -> dict[str, tuple[str, Callable[[], object]]]:
    """Prepare the cases: a module of mmcv.ops and a call of its function, by description."""
    rng = torch.Generator().manual_seed(0)
    rand = partial(torch.rand, generator=rng)
    cases: dict[str, tuple[str, Callable[[], object]]] = {}
    for count, people in ((1000, 30), (10000, 30), (10000, 300), (10000, 3000)):
        boxes, scores = draw_crowd(int(count * scale), people, rng)
        call = partial(mmcv.ops.nms, boxes, scores, 0.6)
        cases[f'nms, {len(boxes):,} boxes, {people:,} people'] = 'nms', call
    boxes, scores = draw_crowd(int(1000 * scale), 100, rng)
    cases[f'soft_nms, {len(boxes):,} boxes'] = 'nms', partial(mmcv.ops.soft_nms, boxes, scores)

    height, width = int(100 * scale), int(168 * scale)
    maps = rand(1, 256, height, width).requires_grad_()
    boxes = draw_crowd(max(1, int(256 * scale)), 30, rng)[0].clamp(min=0) * scale
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    pool = partial(mmcv.ops.roi_align, maps, rois, 7, 1 / 8, 0, 'avg', True)
    half = rand(1, 64, height // 2, width // 2).requires_grad_()
    offsets = torch.randn(1, 18, *half.shape[2:], generator=rng).requires_grad_()
    weight = rand(64, 64, 3, 3).requires_grad_()
    convolve = partial(mmcv.ops.deform_conv2d, half, offsets, weight, 1, 1)
    for name, module, call in (
        (f'roi_align, {len(rois)} boxes', 'roi_align', pool),
        (f'deform_conv2d, {half.size(2)} x {half.size(3)}', 'deform_conv', convolve),
    ):
        cases[name] = module, call
        cases[f'{name}, with backward'] = module, lambda call=call: call().sum().backward()
    return cases


def call_with(operators, module: str, call: Callable[[], object]) -> None:
    """Call a function of mmcv with these operators behind it."""
    with patch.object(sys.modules[f'mmcv.ops.{module}'], 'ext_module', operators):
        call()


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=7)
    parser.add_argument('--scale', type=float, default=1.0, help='of the input sizes')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    operators = dict(ours=ops, compiled=mmcv._ext) if COMPILED else dict(ours=ops)
    found = {}
    for name, case in make_cases(args.scale).items():
        calls = {key: partial(call_with, one, *case) for key, one in operators.items()}
        times = harness.measure(calls, args.repeats)
        found[name] = {key: values['processor_ms'] for key, values in times.items()}
        if COMPILED:
            found[name]['ours : compiled'] = found[name]['ours'] / found[name]['compiled']
    machine = f'{harness.describe_machine()}, median of {args.repeats}'
    harness.write_json(args.out_json, machine, operators=found)
    print(machine + '; processor time in ms\n')
    header = ['operator', *next(iter(found.values()))]
    print(harness.format_table(header, [[name, *row.values()] for name, row in found.items()]))


if __name__ == '__main__':
    main()
