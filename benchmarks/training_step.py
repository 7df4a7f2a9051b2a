"""Fraction of a training step spent in assignment and losses, for LLAHead and mmdet's heads.

``python benchmarks/training_step.py``: ResNet-50, FPN and each head on the same random images of
800 x 1344 with 100 gts, untrained. "dense" is LLAHead with tables of gts x priors x classes. Times
are the processor's, on a GPU wall times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import assigners
import harness
import torch
from assigners import STRIDES
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

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
    'LLAHead, dense': dict(type='mmdet_lla.LLAHead', assigner=dict(type='mmdet_lla.LLAAssigner')),
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
    'FCOSHead': dict(type='FCOSHead', strides=list(STRIDES)),
}


def build_body(depth: int) -> nn.Module:
    """Build ResNet and FPN, with the first stage and all batch norms frozen."""
    channels = [64, 128, 256, 512] if depth == 18 else [256, 512, 1024, 2048]
    resnet = dict(type='ResNet', depth=depth, frozen_stages=1, norm_eval=True)
    fpn = dict(type='FPN', out_channels=256, start_level=1, add_extra_convs='on_output', num_outs=5)
    return nn.Sequential(
        MODELS.build(dict(resnet, norm_cfg=dict(type='BN', requires_grad=False))),
        MODELS.build(dict(fpn, in_channels=channels)),
    ).train()


def build_head(name: str) -> nn.Module:
    """Build a head of the table, with its own assigner and losses."""
    cfg = dict(HEADS[name])
    train_cfg = dict(allowed_border=-1, pos_weight=-1)
    if 'assigner' in cfg:  # FCOSHead has none
        train_cfg['assigner'] = cfg.pop('assigner')
    head = MODELS.build(
        dict(num_classes=1, in_channels=256, train_cfg=ConfigDict(train_cfg), **cfg)
    )
    if name == 'LLAHead, dense':
        head.assigner = assigners.DenseLLAAssigner()
    head.init_weights()
    return head.train()


def make_batch(num_imgs: int, num_gts: int, seed: int, device: str) -> tuple[Tensor, list]:
    """Draw images, (num_imgs, 3, H, W), and gts of one class for each."""
    images = torch.randn(num_imgs, 3, assigners.HEIGHT, assigners.WIDTH, device=device)
    gts = []
    for index in range(num_imgs):
        inputs = assigners.move(assigners.make_inputs(num_gts, 1, seed + index), device)
        gts.append(InstanceData(bboxes=inputs['gt_bboxes'], labels=inputs['gt_labels']))
    return images, gts


def compute_loss(head: nn.Module, outs: tuple, gts: list[InstanceData]) -> Tensor:
    """Sum all losses of a head's outputs."""
    size = assigners.HEIGHT, assigners.WIDTH
    metas = [dict(img_shape=size, pad_shape=size, scale_factor=(1.0, 1.0)) for _ in gts]
    losses = head.loss_by_feat(*outs, [InstanceData(**dict(one.items())) for one in gts], metas)
    values = [
        value for loss in losses.values() for value in (loss if type(loss) is list else [loss])
    ]
    return sum(value.sum() for value in values)


def step(
    body: nn.Module, head: nn.Module, images: Tensor, gts: list, clock: Callable[[], float]
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
    times = [clock()]
    outs = head(body(images))
    times.append(clock())
    total = compute_loss(head, outs, gts)
    times.append(clock())
    total.backward()
    times.append(clock())
    del head.assigner.assign
    forward, loss, backward = (b - a for a, b in pairwise(times))
    return dict(zip(PARTS, (forward, spent, loss - spent, backward), strict=True))


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=5)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--gts', type=int, default=100, help='per image')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--depth', type=int, default=50, choices=(18, 50), help='of the ResNet')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    synchronize = harness.make_synchronize(args.device)

    def clock() -> float:
        synchronize()
        return time.process_time() if args.device == 'cpu' else time.perf_counter()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    init_default_scope('mmdet')
    MMLogger.get_instance('benchmark', log_level='WARNING')
    body = build_body(args.depth).to(args.device)
    batch = make_batch(args.batch_size, args.gts, args.seed, args.device)
    calls = {
        name: partial(step, body, build_head(name).to(args.device), *batch, clock)
        for name in HEADS
        if name != 'FCOSHead'
    }
    milliseconds = {
        name: {part: 1e3 * statistics.median(one[part] for one in steps) for part in PARTS}
        for name, steps in harness.run_rounds(calls, args.repeats).items()
    }
    machine = (
        f'{harness.describe_machine(args.device)}, ResNet-{args.depth}, batch {args.batch_size}, '
        f'{args.gts} gts per image, median of {args.repeats}'
    )
    harness.write_json(args.out_json, machine, milliseconds=milliseconds)
    rows = []
    for name, parts in milliseconds.items():
        fraction = (parts['assignment'] + parts['other losses']) / sum(parts.values())
        rows.append([name, *parts.values(), f'{fraction:.1%}'])
    print(machine + '; ms\n')
    print(harness.format_table(['head', *PARTS, 'assignment and losses'], rows))


if __name__ == '__main__':
    main()
