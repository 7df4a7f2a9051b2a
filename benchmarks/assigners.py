"""Time and peak memory of LLAAssigner and other assigners on the same inputs.

``python benchmarks/assigners.py`` prints the table; ``--plot growth.png`` draws how both grow from
10 to 10,000 gts instead; ``--form anchors`` uses 9 anchor boxes per location. Ratios are of medians
of one run. ``--busy 2`` runs two other busy processes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import harness
import torch

from mmdet_lla import LLAAssigner  # before mmdet: operators for mmcv-lite

# isort: split
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_lla.assigners import OTAAssigner, POTOAssigner, View
from mmdet_lla.assigners.reference import assign_reference

HEIGHT, WIDTH = 800, 1344
STRIDES = (8, 16, 32, 64, 128)
GROWTH = (10, 30, 100, 300, 1000, 3000, 10000)
#: In the plot, an assigner that would need more MiB than this is left out.
MEMORY_LIMIT = 2048


class DenseLLAAssigner(BaseAssigner):
    """LLA's rule on tables of gts x priors x classes, see `mmdet_lla.assigners.reference`."""

    view = View('own', 'logits', gives_iou=True)

    @torch.no_grad()
    def assign(self, pred_instances, gt_instances, gt_instances_ignore=None, **kwargs):
        preds, gts, labels = pred_instances.bboxes, gt_instances.bboxes, gt_instances.labels
        points = pred_instances.priors[:, :2]
        gt_inds = assign_reference(points, preds, pred_instances.scores, gts, labels)
        positive, gt = gt_inds > 0, (gt_inds - 1).clamp(min=0)  # (num_priors,)
        overlaps = bbox_overlaps(preds, gts[gt], is_aligned=True) * positive
        labels = torch.where(positive, labels[gt], -1)
        return AssignResult(len(gts), gt_inds, overlaps, labels=labels)


def make_inputs(num_gts: int, num_classes: int, seed: int, form: str = 'points') -> dict:
    """Draw the inputs for an image of 800 x 1344 in the middle of a training.

    Gts are 20 to 600 px high, log-uniform, with the shape of people, inside the image. Every fourth
    prediction inside a gt is near that gt, the closer the higher its score. Priors are one point
    per location, or 9 anchor boxes per location as in RetinaNet.
    """
    rng = torch.Generator().manual_seed(seed)
    uniform, normal = partial(torch.rand, generator=rng), partial(torch.randn, generator=rng)
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
    center = size / 2 + uniform(num_gts, 2) * (torch.tensor([WIDTH, HEIGHT]) - size)
    gt_bboxes = torch.cat([center - size / 2, center + size / 2], 1)
    gt_labels = torch.randint(num_classes, (num_gts,), generator=rng)

    # Outside gts: a box of the level's size in the shape of a person, and a low score.
    half = stride * torch.tensor([1.5, 4.0]) * (0.4 * normal(len(points), 2)).exp()
    preds = torch.cat([points - half, points + half], 1)
    logits = normal(len(points), num_classes) * 1.2 - 5
    # Inside gts, of which the smallest is in front.
    chosen, quality = uniform(len(points)) < 0.25, uniform(len(points))
    noise = normal(len(points), 4) * (1 - quality)[:, None] * 0.25
    score = 6 * quality - 4 + 0.5 * normal(len(points))
    for index in size[:, 1].argsort(descending=True).tolist():
        box = gt_bboxes[index]
        on_it = (chosen & (points > box[:2]).all(1) & (points < box[2:]).all(1)).nonzero()[:, 0]
        preds[on_it] = box + noise[on_it] * size[index].repeat(2)
        logits[on_it, gt_labels[index]] = score[on_it]
    first, second = preds.split(2, 1)
    return dict(
        form=form,
        points=points,
        stride=stride,
        anchors=anchors,
        preds=torch.cat([torch.minimum(first, second), torch.maximum(first, second)], 1),
        logits=logits,
        gt_bboxes=gt_bboxes,
        gt_labels=gt_labels,
        num_level_priors=[h * w * len(points) // num_locations for h, w in sizes],
    )


def move(inputs: dict, device: str) -> dict:
    """Move the tensors of an image's inputs to a device."""
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }


def make_calls(inputs: dict) -> dict[str, Callable[[], AssignResult]]:
    """Prepare a call of every assigner with its usual settings."""
    init_default_scope('mmdet')
    points, anchors, logits = inputs['points'].clone(), inputs['anchors'], inputs['logits']
    strided, probs = torch.cat([points, inputs['stride']], 1), logits.sigmoid()
    maxiou = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.0)
    table = {
        'LLA': (LLAAssigner(), points if inputs['form'] == 'points' else anchors, logits),
        'dense LLA': (DenseLLAAssigner(), points, logits),
        'OTA': (OTAAssigner(prior_form='points'), strided, logits),
        'POTO': (POTOAssigner(prior_form='points', score_form='probs'), strided, probs),
        'SimOTA': (dict(type='SimOTAAssigner', center_radius=2.5), strided, probs),
        'DynamicSoftLabel': (dict(type='DynamicSoftLabelAssigner', topk=13), strided, logits),
        'TaskAligned': (dict(type='TaskAlignedAssigner', topk=13), anchors, probs),
        'ATSS': (dict(type='ATSSAssigner', topk=9), anchors, probs),
        'MaxIoU': (maxiou, anchors, probs),
    }
    if inputs['form'] == 'anchors':  # the assigners for anchor boxes that fit into memory
        table = {name: table[name] for name in ('LLA', 'ATSS', 'MaxIoU')}
    gt = InstanceData(bboxes=inputs['gt_bboxes'], labels=inputs['gt_labels'])
    calls = {}
    for name, (assigner, priors, scores) in table.items():
        if isinstance(assigner, dict):
            assigner = TASK_UTILS.build(assigner)
        pred = InstanceData(priors=priors, bboxes=inputs['preds'], scores=scores)
        extra = dict(num_level_priors=inputs['num_level_priors']) if name == 'ATSS' else {}
        calls[name] = partial(assigner.assign, pred_instances=pred, gt_instances=gt, **extra)
    return calls


def make_batch_calls(images: Sequence[dict]) -> dict[str, Callable[[], object]]:
    """Prepare calls of every assigner for all images of a batch; LLA assigns them at once."""
    singles = [make_calls(inputs) for inputs in images]
    preds, logits = (torch.stack([one[name] for one in images]) for name in ('preds', 'logits'))
    gts = [InstanceData(bboxes=one['gt_bboxes'], labels=one['gt_labels']) for one in images]
    calls = {'LLA': partial(LLAAssigner().assign_batch, images[0]['points'], preds, logits, gts)}
    for name in singles[0]:
        label = 'LLA, image by image' if name == 'LLA' else name
        calls[label] = lambda name=name: [single[name]() for single in singles]
    return calls


def measure_row(num_gts: int, num_classes: int, args, skipped: set[str] = frozenset()) -> dict:
    """Measure all assigners but the skipped ones on the same inputs."""
    inputs = move(make_inputs(num_gts, num_classes, args.seed, args.form), args.device)
    calls = {name: call for name, call in make_calls(inputs).items() if name not in skipped}
    found = harness.measure(calls, args.repeats, args.device)
    for name, call in calls.items():
        found[name]['mib'] = harness.peak_tensor_mib(call, args.device)
    row = dict(gts=num_gts, classes=num_classes, assigners=found)
    if 'dense LLA' in calls:
        row['differ'] = int((calls['LLA']().gt_inds != calls['dense LLA']().gt_inds).sum())
    return row


def measure_growth(args) -> list[dict]:
    """Measure with growing numbers of gts; assigners are skipped before they pass the limit."""
    rows, skipped = [], set()
    for num_gts, next_gts in zip(GROWTH, (*GROWTH[1:], 0), strict=True):
        rows.append(measure_row(num_gts, 1, args, skipped))
        for name, row in rows[-1]['assigners'].items():
            if name != 'LLA' and row['mib'] * next_gts / num_gts > MEMORY_LIMIT:
                skipped.add(name)
    return rows


def format_rows(rows: list[dict]) -> str:
    """Format wall time and peak memory; the last columns are ratios to MaxIoU."""
    names = list(rows[0]['assigners'])
    header = ['gts, classes', *names, 'LLA / MaxIoU: time', 'processor time', 'memory']
    lines = []
    for row in rows:
        found = row['assigners']
        cells = [f'{found[name]["ms"]:.1f} · {found[name]["mib"]:.0f}' for name in names]
        ratios = [found['LLA'][key] / found['MaxIoU'][key] for key in ('ms', 'processor_ms', 'mib')]
        lines.append([f'{row["gts"]}, {row["classes"]}', *cells, *ratios])
    return harness.format_table(header, lines)


def plot_growth(rows: list[dict], path: str, title: str) -> None:
    """Plot processor time and memory over the number of gts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout='constrained')
    labels = dict(processor_ms='processor time, ms', mib='peak memory of the call, MiB')
    for axis, (key, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for name in rows[0]['assigners']:
            found = [(row['gts'], row['assigners'].get(name)) for row in rows]
            points = [(gts, values[key]) for gts, values in found if values]
            style = dict(linewidth=3, color='black', zorder=3) if name == 'LLA' else {}
            axis.plot(*zip(*points, strict=True), marker='o', markersize=3, label=name, **style)
        axis.set(xscale='log', yscale='log', xlabel='gts in the image', ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=90)


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=11)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--gts', type=int, nargs='+', default=[23, 100, 300, 50], help='one per row'
    )
    parser.add_argument('--classes', type=int, nargs='+', default=[1, 1, 1, 80], help='one per row')
    parser.add_argument('--form', choices=('points', 'anchors'), default='points')
    parser.add_argument('--busy', type=int, default=0, help='other busy processes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--plot', metavar='PNG', help='measure and plot growth instead')
    args = parser.parse_args(argv)
    if len(args.gts) != len(args.classes):
        parser.error('--gts and --classes need the same number of values')
    torch.set_num_threads(args.threads)
    machine = f'{harness.describe_machine(args.device)}, {args.busy} other busy process(es)'
    with harness.keep_busy(args.busy):
        if args.plot:
            rows = measure_growth(args)
            plot_growth(rows, args.plot, f'{machine}; lines end before {MEMORY_LIMIT} MiB')
        else:
            pairs = zip(args.gts, args.classes, strict=True)
            rows = [measure_row(*pair, args) for pair in pairs]
    harness.write_json(args.out_json, machine, rows=rows)
    print(f'{machine}, median of {args.repeats}; ms · MiB\n')
    if not args.plot:
        print(format_rows(rows))
    for row in rows:
        slowest = [f'{name} {found["worst_ms"]:.1f}' for name, found in row['assigners'].items()]
        differ = f'; LLA and dense LLA differ on {row["differ"]} priors' if 'differ' in row else ''
        print(f'\n{row["gts"]} gts, slowest call in ms: {", ".join(slowest)}{differ}')


if __name__ == '__main__':
    main()
