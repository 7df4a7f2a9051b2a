"""Check and measure assigners, training and inference on a GPU, in at most five minutes.

``python benchmarks/on_gpu.py`` writes on_gpu.json and prints one table. A part that fails is
reported with its error and does not stop the others; the exit status is then 1. ``--device cpu
--tiny`` runs all parts on small inputs in about a minute.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import assigners
import cv2
import harness
import numpy as np
import operators
import torch
import training_step
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_lla import LLAAssigner, Predictor
from mmdet_lla.assigners import OTAAssigner, POTOAssigner

DATA = harness.ROOT / 'tests' / 'data'
TIME_LIMIT = 300  # seconds
BATCHES = (1, 2, 16)
COMPARED = ('LLA', 'MaxIoU', 'ATSS', 'SimOTA', 'TaskAligned')
HEADS = ('LLAHead', 'ATSSHead', 'FCOSHead')
PRECISIONS = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
POTO_RULES = (dict(), dict(matching='argmax'), dict(one_to_many='aux'))
#: Settings of OTAAssigner that its golden vectors name differently.
OTA_KEYS = dict(candidate_topk='top_candidates')


def read_golden(path: Path) -> Iterator[tuple[Callable, dict, Tensor, Tensor, Tensor | None]]:
    """Read an assigner, predictions, gts, labels and the recorded assignment from a vector."""
    with np.load(path) as file:
        z = {key: torch.from_numpy(np.asarray(file[key])) for key in file}
    kind = path.stem.partition('_')[0]
    if kind == 'head':
        points = [
            stride * torch.cartesian_prod(*map(torch.arange, z[f'out_cls/{i}'].shape[2:])).flip(1)
            for i, stride in enumerate(assigners.STRIDES)
        ]
        for j in range(2):
            logits, ltrb = (
                torch.cat([z[f'{name}/{i}'][j].flatten(1).T for i in range(len(points))])
                for name in ('out_cls', 'out_ltrb')
            )
            pred = make_predictions(torch.cat(points).float(), ltrb, logits)
            gts = z[f'gt_bboxes/{j}'], z[f'gt_labels/{j}']
            yield LLAAssigner().assign, pred, *gts, z[f'assigned/{j}']
        return
    settings = {key: value.item() for key, value in z.items() if value.dim() == 0}
    pred = make_predictions(z['points'], z['ltrb'], z['cls_logits'])
    gts = z['gt_bboxes'], z['gt_labels']
    if kind == 'assign':
        lla = LLAAssigner(topk=settings['topk'], reg_weight=settings['reg_cost'])
        yield lla.assign, pred, *gts, z['assigned']
        return
    pred['priors'] = torch.cat([z['points'], z['strides'][:, None].expand(-1, 2)], 1)
    if kind == 'ota':
        keys = 'candidate_topk', 'center_radius', 'reg_weight', 'sinkhorn_eps', 'sinkhorn_iters'
        knobs = {key: settings[OTA_KEYS.get(key, key)] for key in keys}
        yield OTAAssigner(prior_form='points', **knobs).assign, pred, *gts, z['assigned']
        return
    knobs = {key: settings[key] for key in ('alpha', 'center_radius', 'aux_topk')}
    levels = z['level_sizes'].prod(1).tolist()
    for rule in POTO_RULES:
        poto = POTOAssigner(prior_form='points', score_form='logits', **knobs, **rule)
        # The vectors list the gts whose match is arbitrary, so nothing is compared with them here.
        yield partial(poto.assign, num_level_priors=levels), pred, *gts, None


def make_predictions(points: Tensor, ltrb: Tensor, logits: Tensor) -> dict[str, Tensor]:
    """Decode distances to boxes."""
    boxes = torch.cat([points - ltrb[:, :2], points + ltrb[:, 2:]], 1)
    return dict(priors=points, bboxes=boxes, scores=logits)


def is_equal(assign: Callable, pred: dict, gts: Tensor, labels: Tensor, assigned, device) -> bool:
    """Compare the assignment on the device with that on the CPU and with the recorded one."""
    ignored, labels = labels < 0, labels.long()
    found = []
    for one in ('cpu', device):
        parts = [dict(bboxes=gts[mask], labels=labels[mask]) for mask in (~ignored, ignored)]
        instances = [InstanceData(**part).to(one) for part in (pred, *parts)]
        result = assign(*instances)
        found.append([result.gt_inds.cpu(), result.labels.cpu(), result.max_overlaps.cpu()])
    equal = all(map(torch.equal, found[0][:2], found[1][:2]))
    equal &= torch.allclose(found[0][2], found[1][2], rtol=1e-4, atol=1e-5)
    if assigned is not None:
        numbers = torch.where(ignored, -1, (~ignored).cumsum(0))  # mmdet's gt_inds by gt
        recorded = torch.cat([numbers, numbers.new_zeros(1)])[assigned.long()]
        equal &= torch.equal(found[1][0], recorded)
    return equal


def compare_golden(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Compare the assignments of all golden vectors on the device with those on the CPU."""
    different = []
    for kind in ('assign', 'ota', 'poto', 'head'):
        paths = sorted(DATA.glob(f'{kind}_*.npz'))
        equal = {
            f'{path.stem}, case {i}': is_equal(*case, args.device)
            for path in paths
            for i, case in enumerate(read_golden(path))
        }
        yield f'{kind}, {len(paths)} vectors', dict(equal=sum(equal.values()), cases=len(equal))
        different += [name for name, value in equal.items() if not value]
    if different:
        raise AssertionError(f'assignments differ from the CPU: {", ".join(different)}')


def count_warnings(call: Callable[[], object]) -> int:
    """Count the synchronizations of a call that CUDA reports."""
    call()  # fills the caches
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            call()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return sum('synchronizing CUDA operation' in str(one.message) for one in caught)


def make_calls(args: argparse.Namespace, num_imgs: int) -> dict[str, Callable]:
    """Prepare calls of the compared assigners for a batch."""
    images = [assigners.make_inputs(args.gts, 1, seed) for seed in range(num_imgs)]
    calls = assigners.make_batch_calls([assigners.move(one, args.device) for one in images])
    return {name: calls[name] for name in COMPARED}


def count_synchronizations(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Count the synchronizations per batch, on a CPU those of the simulated device."""
    on_gpu = args.device.startswith('cuda')
    for num_imgs in BATCHES[:2] if args.tiny else BATCHES:
        simulated = {} if on_gpu else operators.count_batch(num_imgs, args.gts, 1)
        for name, call in make_calls(args, num_imgs).items():
            count = count_warnings(call) if on_gpu else simulated[name][1]
            values = dict(synchronizations=count, simulated=not on_gpu)
            yield f'{name}, batch of {num_imgs}', values


def time_assigners(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Measure time and memory of assigning a batch."""
    for num_imgs in BATCHES:
        calls = make_calls(args, num_imgs)
        for name, times in harness.measure(calls, args.repeats, args.device).items():
            mib = harness.peak_tensor_mib(calls[name], args.device)
            yield f'{name}, batch of {num_imgs}', dict(ms=times['ms'], mib=mib)


def train_step(
    body: nn.Module, head: nn.Module, batch: tuple, optimizer, scaler, dtype: torch.dtype
) -> Tensor:
    """Do one training step in the given precision and return the loss."""
    images, gts = batch
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
        loss = training_step.compute_loss(head, head(body(images)), gts)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return loss.detach()


def time_training(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Measure a training step in all precisions, then compiled in fp32 (if tiny, only traced)."""
    device = torch.device(args.device).type
    body = training_step.build_body(18 if args.tiny else 50).to(args.device)
    heads = {name: training_step.build_head(name).to(args.device) for name in HEADS}
    batch = training_step.make_batch(1 if args.tiny else 2, args.gts, 0, args.device)
    for mode, dtype in (*PRECISIONS.items(), ('fp32, compiled', torch.float32)):
        if 'compiled' in mode:
            for module in (body, *heads.values()):
                module.compile(backend='aot_eager' if args.tiny else 'inductor')
        calls = {}
        for name, head in heads.items():
            optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=1e-4)
            scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
            calls[name] = partial(train_step, body, head, batch, optimizer, scaler, dtype)
        for name, times in harness.measure(calls, args.repeats, args.device).items():
            mib = harness.peak_tensor_mib(calls[name], args.device)
            loss = float(calls[name]())
            if not np.isfinite(loss):
                raise ArithmeticError(f'the loss of {name} in {mode} is {loss}')
            yield f'{name}, {mode}', dict(ms=times['ms'], mib=mib, loss=loss)


def time_predictor(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Measure the throughput of Predictor with lla-s, preprocessing included."""
    image = cv2.imread(str(DATA / 'released' / 'synthetic.png'))
    image = cv2.resize(image, (160, 120) if args.tiny else (640, 480))
    for size in BATCHES[:2] if args.tiny else BATCHES:
        predictor = Predictor('lla-s', device=args.device, batch_size=size)
        images = [image] * 4 * size
        call = partial(predictor, images)
        times = harness.measure({'predictor': call}, args.repeats, args.device)['predictor']
        yield f'lla-s, batch of {size}', dict(images_per_second=1e3 * len(images) / times['ms'])


PARTS = {
    'assignments': compare_golden,
    'synchronizations': count_synchronizations,
    'assigning': time_assigners,
    'training': time_training,
    'Predictor': time_predictor,
}


def run_part(part: Callable, args: argparse.Namespace, deadline: float) -> dict:
    """Run a part and keep its rows up to an error or the deadline."""
    start, rows, error = time.monotonic(), {}, None
    try:
        for case, values in part(args):
            rows[case] = values
            if time.monotonic() > deadline:
                raise TimeoutError(f'stopped after {TIME_LIMIT} s')
    except Exception as raised:
        traceback.print_exc()
        error = f'{type(raised).__name__}: {raised}'
    return dict(seconds=time.monotonic() - start, rows=rows, error=error)


def format_parts(parts: dict[str, dict]) -> str:
    """Format all parts as one table, an error as the last row of its part."""
    rows = []
    for name, part in parts.items():
        for case, values in part['rows'].items():
            cells = [
                f'{key} {value:.1f}' if isinstance(value, float) else f'{key} {value}'
                for key, value in values.items()
            ]
            rows.append([name, case, ', '.join(cells)])
        if part['error']:
            rows.append([name, 'failed', part['error'].splitlines()[0].replace('|', '/')])
    return harness.format_table(['part', 'case', 'result'], rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='small inputs, for a CPU')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    parser.add_argument('--out-json', type=Path, default=Path('on_gpu.json'))
    args = parser.parse_args(argv)
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error('there is no GPU; --device cpu --tiny runs everything on the CPU')
    args.repeats, args.gts = (1, 5) if args.tiny else (10, 100)
    assigners.HEIGHT, assigners.WIDTH = (64, 96) if args.tiny else (800, 1333)
    torch.manual_seed(0)
    init_default_scope('mmdet')
    MMLogger.get_instance('benchmark', log_level='WARNING')
    deadline, parts = time.monotonic() + TIME_LIMIT, {}
    for name in args.parts:
        print(f'{name} ...', file=sys.stderr, flush=True)
        parts[name] = run_part(PARTS[name], args, deadline)
        machine = harness.describe_machine(args.device)
        harness.write_json(args.out_json, machine, tiny=args.tiny, parts=parts)
    print(f'{machine}{", tiny inputs" if args.tiny else ""}\n\n{format_parts(parts)}')
    return int(any(part['error'] for part in parts.values()))


if __name__ == '__main__':
    sys.exit(main())
