"""Resident memory of head and assigner over iterations with 5 to 500 gts per image.

python benchmarks/reliability/memory.py --iterations 2000
"""

import argparse
import random
import time
from pathlib import Path

import torch

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.structures import InstanceData

SIDES = (128, 160, 192)
WINDOW = 200


def resident_mb() -> float:
    """Resident memory of this process."""
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=2000)
    args = parser.parse_args()
    register_all_modules()
    torch.set_num_threads(1)
    draw = random.Random(0)
    torch.manual_seed(0)
    head = MODELS.build(
        dict(
            type='LLAHead',
            num_classes=1,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            norm_cfg=dict(type='GN', num_groups=2),
            train_cfg=dict(assigner=dict(type='LLAAssigner')),
        )
    )
    optimizer = torch.optim.SGD(head.parameters(), 0.001)
    windows, begin = [], time.time()
    for iteration in range(args.iterations):
        side, count = draw.choice(SIDES), draw.randint(5, 500)
        feats = [torch.randn(1, 8, -(-side // s), -(-side // s)) for s in (8, 16, 32, 64, 128)]
        corner = torch.rand(count, 2) * side
        boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2) * 40], 1)
        gts = InstanceData(bboxes=boxes, labels=torch.zeros(count).long())
        losses = head.loss_by_feat(*head(feats), [gts], [dict(img_shape=(side, side))])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if iteration % WINDOW == 0:
            windows.append([])
        windows[-1].append(resident_mb())
        if iteration % WINDOW == WINDOW - 1:
            left = (time.time() - begin) / (iteration + 1) * (args.iterations - iteration - 1)
            print(
                f'{iteration + 1} iterations: {max(windows[-1]):.1f} MB at most, {left:.0f} s left',
                flush=True,
            )
    second, last = max(windows[1]), max(windows[-1])
    print(
        f'largest in iterations {WINDOW + 1} to {2 * WINDOW}: {second:.1f} MB, in the last '
        f'{WINDOW}: {last:.1f} MB, growth {last - second:+.1f} MB'
    )


if __name__ == '__main__':
    main()
