"""Time and peak memory of LLAAssigner and mmdet's assigners on the same inputs.

``python benchmarks/assigners.py`` prints the table; ``--plot growth.png`` draws how both grow from
10 to 10,000 gts instead; ``--form anchors`` uses 9 anchor boxes per location. Rounds are
interleaved, so that other load on the machine affects all alike; the ratios in the last columns are
ratios of medians of one run. ``--busy 2`` runs two other busy processes meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # read when torch is imported

import torch  # noqa: E402
from busy import busy

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor
from torch.autograd import DeviceType
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout, not installed
from mmdet_lla.assigners import View
from mmdet_lla.assigners.reference import assign_reference

HEIGHT, WIDTH = 800, 1344
STRIDES = (8, 16, 32, 64, 128)
MIB = 1 << 20
ROWS = ((23, 1), (100, 1), (300, 1), (50, 80))
GROWTH = (10, 30, 100, 300, 1000, 3000, 10000)
#: In the plot, an assigner that would need more than this is left out.
MEMORY_LIMIT = 2048 * MIB


class PlainLLAAssigner(BaseAssigner):
    """LLA's rule on full tables of gts x priors x classes, see `mmdet_lla.assigners.reference`."""

    view = View('own', 'logits', gives_iou=True)

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore=None,
        **kwargs,
    ) -> AssignResult:
        preds, gts, labels = pred_instances.bboxes, gt_instances.bboxes, gt_instances.labels
        gt_inds = assign_reference(
            pred_instances.priors[:, :2], preds, pred_instances.scores, gts, labels
        )
        won, gt = gt_inds > 0, (gt_inds - 1).clamp(min=0)
        overlaps = bbox_overlaps(preds, gts[gt], is_aligned=True) * won
        return AssignResult(len(gts), gt_inds, overlaps, labels=torch.where(won, labels[gt], -1))


def make_inputs(
    num_gts: int, num_classes: int, seed: int, device: str, form: str = 'points'
) -> dict:
    """Draw the inputs for an image of 800 x 1344 in the middle of a training.

    Gts are 20 to 600 px high, log-uniform, with the shape of people, inside the image. Every fourth
    prediction inside a gt is near that gt, the closer the higher its score. Priors are one point
    per location, or 9 anchor boxes per location as in RetinaNet.
    """
    rng = torch.Generator().manual_seed(seed)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=rng)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng)

    sizes = [(-(-HEIGHT // s), -(-WIDTH // s)) for s in STRIDES]
    levels = MlvlPointGenerator(list(STRIDES), offset=0).grid_priors(
        sizes, device='cpu', with_stride=True
    )
    points, stride = torch.cat(levels).split(2, 1)
    num_locations = len(points)
    anchors = torch.cat([points - stride * 4, points + stride * 4], 1)
    if form == 'anchors':
        generator = AnchorGenerator(
            list(STRIDES), [0.5, 1.0, 2.0], octave_base_scale=4, scales_per_octave=3
        )
        anchors = torch.cat(generator.grid_priors(sizes, device='cpu'))
        points, stride = points.repeat_interleave(9, 0), stride.repeat_interleave(9, 0)
    height = 20 * 30 ** uniform(num_gts)
    size = torch.stack([height * 0.41 * (0.15 * normal(num_gts)).exp(), height], 1)
    middle = size / 2 + uniform(num_gts, 2) * (torch.tensor([WIDTH, HEIGHT]) - size)
    boxes = torch.cat([middle - size / 2, middle + size / 2], 1)
    labels = torch.randint(num_classes, (num_gts,), generator=rng)

    # Outside gts: a box of the level's size in the shape of a person, and a low score.
    half = stride * torch.tensor([1.5, 4.0]) * (0.4 * normal(len(points), 2)).exp()
    preds = torch.cat([points - half, points + half], 1)
    logits = normal(len(points), num_classes) * 1.2 - 5
    # Inside gts, of which the smallest is in front.
    chosen, quality = uniform(len(points)) < 0.25, uniform(len(points))
    noise = normal(len(points), 4) * (1 - quality)[:, None] * 0.25
    score = 6 * quality - 4 + 0.5 * normal(len(points))
    for index in size[:, 1].argsort(descending=True).tolist():
        box = boxes[index]
        on_it = (chosen & (points > box[:2]).all(1) & (points < box[2:]).all(1)).nonzero()[:, 0]
        preds[on_it] = box + noise[on_it] * size[index].repeat(2)
        logits[on_it, labels[index]] = score[on_it]
    preds = torch.cat(
        [torch.minimum(preds[:, :2], preds[:, 2:]), torch.maximum(preds[:, :2], preds[:, 2:])], 1
    )
    inputs = dict(
        points=points,
        stride=stride,
        anchors=anchors,
        preds=preds,
        logits=logits,
        boxes=boxes,
        labels=labels,
    )
    return {k: v.to(device) for k, v in inputs.items()} | dict(
        form=form, num_level_priors=[h * w * len(points) // num_locations for h, w in sizes]
    )


def make_calls(inputs: dict) -> dict[str, Callable[[], AssignResult]]:
    """Prepare a call of every assigner with its usual settings."""
    init_default_scope('mmdet')
    points, preds, logits = inputs['points'], inputs['preds'], inputs['logits']
    strided = torch.cat([points, inputs['stride']], 1)
    anchors = inputs['anchors']
    gt = InstanceData(bboxes=inputs['boxes'], labels=inputs['labels'])
    raw = InstanceData(priors=points.clone(), bboxes=preds, scores=logits)
    sure = InstanceData(priors=strided, bboxes=preds, scores=logits.sigmoid())
    soft = InstanceData(priors=strided, bboxes=preds, scores=logits)
    boxed = InstanceData(priors=anchors, bboxes=preds, scores=logits.sigmoid())
    boxed_raw = InstanceData(priors=anchors, bboxes=preds, scores=logits)
    levels = dict(num_level_priors=inputs['num_level_priors'])
    table = {
        'LLA': (mmdet_lla.LLAAssigner(), raw, {}),
        'plain LLA': (PlainLLAAssigner(), raw, {}),
        'OTA': (mmdet_lla.assigners.OTAAssigner(prior_form='points'), soft, {}),
        'POTO': (
            mmdet_lla.assigners.POTOAssigner(prior_form='points', score_form='probs'),
            sure,
            {},
        ),
        'SimOTA': (dict(type='SimOTAAssigner', center_radius=2.5), sure, {}),
        'DynamicSoftLabel': (dict(type='DynamicSoftLabelAssigner', topk=13), soft, {}),
        'TaskAligned': (dict(type='TaskAlignedAssigner', topk=13), boxed, {}),
        'ATSS': (dict(type='ATSSAssigner', topk=9), boxed, levels),
        'MaxIoU': (
            dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.0),
            boxed,
            {},
        ),
    }

    if inputs['form'] == 'anchors':  # those with priors of their own, that fit into memory
        table = {name: table[name] for name in ('ATSS', 'MaxIoU')}
        table['LLA'] = mmdet_lla.LLAAssigner(), boxed_raw, {}

    def ready(assigner, pred: InstanceData, extra: dict) -> Callable[[], AssignResult]:
        if isinstance(assigner, dict):
            assigner = TASK_UTILS.build(assigner)
        return lambda: assigner.assign(pred_instances=pred, gt_instances=gt, **extra)

    return {name: ready(*row) for name, row in table.items()}


def peak_bytes(call: Callable, device: str) -> int:
    """Measure the peak memory of tensors during a call, beyond that before."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        call()
    held = peak = 0
    # Every allocation and release of torch's allocator, in order, with its size.
    for event in sorted(
        (
            event
            for event in profile.kineto_results.events()
            if event.name() == '[memory]' and event.device_type() == DeviceType.CPU
        ),
        key=lambda e: e.start_ns(),
    ):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(calls: dict[str, Callable], repeats: int, device: str, progress: tqdm) -> dict:
    """Measure wall and processor time (medians, ms) and peak memory (MiB) of each call."""
    on_gpu = torch.device(device).type == 'cuda'
    wall, processor = ({name: [] for name in calls} for _ in range(2))
    peak = {}
    for name, call in calls.items():
        call()  # warm up: caches, lazy initialisation
        peak[name] = peak_bytes(call, device) / MIB
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            if on_gpu:
                torch.cuda.synchronize()
            wall[name].append((time.perf_counter() - start[0]) * 1e3)
            processor[name].append((time.process_time() - start[1]) * 1e3)
        progress.update()
    return {
        name: dict(
            ms=statistics.median(wall[name]),
            best_ms=min(wall[name]),
            worst_ms=max(wall[name]),
            processor_ms=statistics.median(processor[name]),
            mib=peak[name],
        )
        for name in calls
    }


def run_table(rows: list[tuple[int, int]], args: argparse.Namespace) -> list[dict]:
    """Measure all assigners on the same inputs, one record per row."""
    records = []
    with tqdm(total=len(rows) * args.repeats, desc='rounds', disable=None) as progress:
        for num_boxes, num_classes in rows:
            inputs = make_inputs(num_boxes, num_classes, args.seed, args.device, args.form)
            calls = make_calls(inputs)
            differ = None
            if 'plain LLA' in calls:
                differ = (calls['LLA']().gt_inds != calls['plain LLA']().gt_inds).sum().item()
            records.append(
                dict(
                    boxes=num_boxes,
                    classes=num_classes,
                    differ=differ,
                    assigners=measure(calls, args.repeats, args.device, progress),
                )
            )
    return records


def run_growth(args: argparse.Namespace) -> list[dict]:
    """Measure with growing numbers of gts; assigners are dropped before they pass the limit."""
    records, dropped = [], set()
    with tqdm(total=len(GROWTH) * args.repeats, desc='growth', disable=None) as progress:
        for position, num_boxes in enumerate(GROWTH):
            inputs = make_inputs(num_boxes, 1, args.seed, args.device)
            calls = {name: call for name, call in make_calls(inputs).items() if name not in dropped}
            found = measure(calls, args.repeats, args.device, progress)
            records.append(dict(boxes=num_boxes, classes=1, assigners=found))
            if position + 1 < len(GROWTH):
                factor = GROWTH[position + 1] / num_boxes
                dropped |= {
                    name
                    for name, row in found.items()
                    if name != 'LLA' and row['mib'] * MIB * factor > MEMORY_LIMIT
                }
    return records


def format_table(records: list[dict]) -> str:
    """Markdown: wall time (median, ms) and peak memory (MiB), ratios to MaxIoU last."""
    names = list(records[0]['assigners'])
    lines = [
        '| gts, classes | '
        + ' | '.join(names)
        + ' | LLA / MaxIoU time | processor time | memory |',
        '| --- ' * (len(names) + 4) + '|',
    ]
    for record in records:
        rows = record['assigners']
        ours, static = rows['LLA'], rows['MaxIoU']
        cells = [f'{rows[name]["ms"]:.1f} · {rows[name]["mib"]:.0f}' for name in names]
        cells += [f'{ours[key] / static[key]:.2f}' for key in ('ms', 'processor_ms', 'mib')]
        lines.append(f'| {record["boxes"]}, {record["classes"]} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def plot_growth(records: list[dict], path: str, title: str) -> None:
    """Plot time and memory over the number of gts."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout='constrained')
    for name in records[0]['assigners']:
        rows = [
            (record['boxes'], record['assigners'][name])
            for record in records
            if name in record['assigners']
        ]
        style = dict(linewidth=3, color='black', zorder=3) if name == 'LLA' else dict(linewidth=1.2)
        for axis, key in zip(axes, ('processor_ms', 'mib'), strict=True):
            axis.plot(
                [boxes for boxes, _ in rows],
                [row[key] for _, row in rows],
                marker='o',
                markersize=3,
                label=name,
                alpha=0.9,
                **style,
            )
    for axis, label in zip(
        axes, ('processor time, ms', 'peak memory of the call, MiB'), strict=True
    ):
        axis.set(xscale='log', yscale='log', xlabel='gts in the image', ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--boxes', type=int, nargs='+', help='gts, one row each (default: 23 100 300 50)'
    )
    parser.add_argument('--classes', type=int, nargs='+', help='for each row (default: 1 1 1 80)')
    parser.add_argument('--form', choices=('points', 'anchors'), default='points')
    parser.add_argument('--repeats', type=int, default=11, help='interleaved rounds')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--busy', type=int, default=0, help='other busy processes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', metavar='FILE', help='write the figures there')
    parser.add_argument('--plot', metavar='PNG', help='measure and draw growth instead')
    args = parser.parse_args()
    if (args.boxes is None) != (args.classes is None) or len(args.boxes or []) != len(
        args.classes or []
    ):
        parser.error('--boxes and --classes go together, as many of the one as of the other')
    if min([args.repeats, args.threads, *(args.boxes or [1]), *(args.classes or [1])]) < 1:
        parser.error('--boxes, --classes, --repeats and --threads must be at least 1')
    if args.busy < 0:
        parser.error(f'--busy must be at least 0, got {args.busy}')
    rows = list(zip(args.boxes, args.classes, strict=True)) if args.boxes else list(ROWS)
    torch.set_num_threads(args.threads)
    where = (
        torch.cuda.get_device_name(args.device)
        if torch.device(args.device).type == 'cuda'
        else f'CPU, {args.threads} thread(s)'
    )
    about = (
        f'{"22,400 points" if args.form == "points" else "201,600 anchors"} (800 x 1344, strides 8 '
        f'to 128), torch {torch.__version__}, {where}, '
        f'seed {args.seed}, median of {args.repeats}'
    )
    if args.busy:
        about += f', {args.busy} other busy process(es)'
    with busy(args.busy):
        records = run_growth(args) if args.plot else run_table(rows, args)
    if args.plot:
        plot_growth(
            records,
            args.plot,
            about + '\nlines end where the next point would need more than 2 GiB',
        )
        for record in records:
            print(
                record['boxes'],
                {
                    name: f'{row["processor_ms"]:.1f} ms, {row["mib"]:.1f} MiB'
                    for name, row in record['assigners'].items()
                },
            )
    else:
        print(about + '; ms · MiB\n\n' + format_table(records))
        print('\nSlowest call, ms:')
        for record in records:
            slowest = [f'{k} {row["worst_ms"]:.1f}' for k, row in record['assigners'].items()]
            print(f'{record["boxes"]}, {record["classes"]}: ' + ', '.join(slowest))
        if args.form == 'points':
            differ = sum(record['differ'] for record in records)
            print(f'\nPriors on which LLA and plain LLA differ: {differ}')
    if args.json:
        Path(args.json).write_text(json.dumps(dict(about=about, rows=records), indent=1))


if __name__ == '__main__':
    main()
