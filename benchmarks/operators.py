"""Operators and host-device synchronizations of assigners per batch, on a simulated device.

``python benchmarks/operators.py`` prints the table; no GPU is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import assigners
import harness
import torch
from simulated_device import SimulatedDevice, to_device


def count(call: Callable, device: SimulatedDevice) -> tuple[int, int]:
    """Count operators and synchronizations of a call after a first one has filled the caches."""
    call()
    device.reset()
    call()
    return sum(device.operators.values()), sum(device.synchronizations.values())


def count_batch(num_imgs: int, num_gts: int, num_classes: int) -> dict[str, tuple[int, int]]:
    """Count both for every assigner and all images of a batch."""
    with SimulatedDevice() as device, torch.no_grad():
        images = [assigners.make_inputs(num_gts, num_classes, seed) for seed in range(num_imgs)]
        calls = assigners.make_batch_calls(to_device(images))
        return {name: count(call, device) for name, call in calls.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=1)
    parser.add_argument('--images', type=int, nargs='+', default=[1, 2, 16], help='per batch')
    parser.add_argument('--gts', type=int, nargs='+', default=[23, 100], help='per image')
    parser.add_argument('--classes', type=int, nargs='+', default=[1, 3])
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = [
        dict(images=images, gts=gts, classes=classes, counts=count_batch(images, gts, classes))
        for classes in args.classes
        for gts in args.gts
        for images in args.images
    ]
    harness.write_json(args.out_json, harness.describe_machine(), rows=rows)
    cells = [
        [f'{row["images"]}, {row["gts"]}, {row["classes"]}']
        + [f'{operators:,} · {waits:,}' for operators, waits in row['counts'].values()]
        for row in rows
    ]
    print(harness.format_table(['images, gts, classes', *rows[0]['counts']], cells))
    print('\noperators per batch, without views · synchronizations')


if __name__ == '__main__':
    main()
