"""Fraction of a training step spent in assignment and losses, for LLAHead and mmdet's heads.

``python benchmarks/training_step.py``: ResNet-50, FPN and each head on the same random images of
800 x 1344 with 100 gts, untrained. "plain" is LLAHead with full tables of gts x priors x classes.
Rounds are interleaved; the table has medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from itertools import pairwise
from pathlib import Path

import torch
from assigners import HEIGHT, STRIDES, WIDTH, PlainLLAAssigner, make_inputs
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from tqdm import tqdm

PARTS = ('forward', 'assignment', 'other losses', 'backward')
ANCHORS = dict(
    type='AnchorGenerator',
    octave_base_scale=8,
    scales_per_octave=1,
    ratios=[1.0],
    strides=list(STRIDES),
)
HEADS = {
    'LLAHead': dict(type='mmdet_lla.LLAHead', assigner=dict(type='mmdet_lla.LLAAssigner')),
    'LLAHead, plain': dict(type='mmdet_lla.LLAHead', assigner=dict(type='mmdet_lla.LLAAssigner')),
    'ATSSHead': dict(
        type='ATSSHead',
        anchor_generator=ANCHORS,
        assigner=dict(type='ATSSAssigner', topk=9),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
    ),
    'YOLOXHead': dict(
        type='YOLOXHead',
        feat_channels=256,
        stacked_convs=4,
        strides=STRIDES,
        assigner=dict(type='SimOTAAssigner', center_radius=2.5),
    ),
}


def build_head(name: str) -> nn.Module:
    """Build a head of the table, with its own assigner and losses."""
    cfg = dict(HEADS[name])
    train_cfg = dict(assigner=cfg.pop('assigner'), allowed_border=-1, pos_weight=-1)
    head = MODELS.build(
        dict(num_classes=1, in_channels=256, train_cfg=ConfigDict(train_cfg), **cfg)
    )
    if name == 'LLAHead, plain':
        head.assigner = PlainLLAAssigner()
    head.init_weights()
    return head.train()


def step(
    body: nn.Module, head: nn.Module, images: torch.Tensor, boxes: list[InstanceData], clock
) -> dict[str, float]:
    """Measure the seconds of each part of one training step."""
    spent = 0.0
    assign = type(head.assigner).assign

    def timed_assign(*args, **kwargs):
        nonlocal spent
        start = clock()
        result = assign(head.assigner, *args, **kwargs)
        spent += clock() - start
        return result

    head.assigner.assign = timed_assign
    metas = [
        dict(img_shape=(HEIGHT, WIDTH), pad_shape=(HEIGHT, WIDTH), scale_factor=(1.0, 1.0))
        for _ in boxes
    ]
    times = [clock()]
    outs = head(body(images))
    times.append(clock())
    losses = head.loss_by_feat(*outs, [InstanceData(**dict(b.items())) for b in boxes], metas)
    total = sum(
        loss.sum() if torch.is_tensor(loss) else sum(part.sum() for part in loss)
        for loss in losses.values()
    )
    times.append(clock())
    total.backward()
    times.append(clock())
    del head.assigner.assign
    forward, loss, backward = (b - a for a, b in pairwise(times))
    return dict(zip(PARTS, (forward, spent, loss - spent, backward), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--boxes', type=int, default=100, help='gts per image')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=5, help='interleaved rounds')
    parser.add_argument('--depth', type=int, default=50, choices=(18, 50), help='of the ResNet')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', metavar='FILE', help='write the figures there')
    args = parser.parse_args()
    on_gpu = torch.device(args.device).type == 'cuda'

    def clock() -> float:
        """Processor seconds, which other work on the machine leaves alone; wall on a GPU."""
        if on_gpu:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    torch.manual_seed(args.seed)
    init_default_scope('mmdet')
    MMLogger.get_instance('benchmark', log_level='WARNING')
    channels = [64, 128, 256, 512] if args.depth == 18 else [256, 512, 1024, 2048]
    body = (
        nn.Sequential(
            MODELS.build(
                dict(
                    type='ResNet',
                    depth=args.depth,
                    frozen_stages=1,
                    norm_eval=True,
                    norm_cfg=dict(type='BN', requires_grad=False),
                )
            ),
            MODELS.build(
                dict(
                    type='FPN',
                    in_channels=channels,
                    out_channels=256,
                    start_level=1,
                    add_extra_convs='on_output',
                    num_outs=5,
                )
            ),
        )
        .to(args.device)
        .train()
    )
    heads = {name: build_head(name).to(args.device) for name in HEADS}
    images = torch.randn(args.batch, 3, HEIGHT, WIDTH, device=args.device)
    boxes = []
    for index in range(args.batch):
        inputs = make_inputs(args.boxes, 1, args.seed + index, args.device)
        boxes.append(InstanceData(bboxes=inputs['boxes'], labels=inputs['labels']))

    rounds: dict[str, list[dict]] = {name: [] for name in heads}
    for index in tqdm(range(args.repeats + 1), desc='rounds', disable=None):
        for name, head in heads.items():
            found = step(body, head, images, boxes, clock)
            if index:  # the first round warms up
                rounds[name].append(found)
    result = {
        name: {part: statistics.median(found[part] for found in steps) for part in PARTS}
        for name, steps in rounds.items()
    }

    print(
        f'ResNet-{args.depth} FPN, batch {args.batch}, {HEIGHT} x {WIDTH}, {args.boxes} gts per '
        f'image, {args.device}; {"wall" if on_gpu else "processor"} time in ms, median of '
        f'{args.repeats}\n'
    )
    print('| head | ' + ' | '.join(PARTS) + ' | assignment + losses, fraction of the step |')
    print('| --- ' * (len(PARTS) + 2) + '|')
    for name, parts in result.items():
        fraction = (parts['assignment'] + parts['other losses']) / sum(parts.values())
        print(
            f'| {name} | '
            + ' | '.join(f'{parts[part] * 1e3:.1f}' for part in PARTS)
            + f' | {fraction:.1%} |'
        )
    if args.json:
        Path(args.json).write_text(json.dumps(dict(vars(args), seconds=result), indent=1))


if __name__ == '__main__':
    main()
