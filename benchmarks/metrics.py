"""Time of CrowdMetric and mmdet's CrowdHumanMetric on the same random crowds.

``python benchmarks/metrics.py`` measures both from construction to values, in one run. Processor
time includes the processes that mmdet starts. Values that differ are an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import harness
import numpy as np
import torch

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.evaluation import CrowdHumanMetric
from mmengine.logging import MMLogger

from mmdet_lla.evaluation import CrowdMetric

HEIGHT, WIDTH = 1080, 1440


def make_crowds(num_imgs: int, num_dets: int, num_people: float, seed: int = 0):
    """Draw annotation records and data samples with people in clusters."""
    rng = np.random.default_rng(seed)
    records, samples = [], []
    for index in range(num_imgs):
        count = max(1, rng.poisson(num_people))
        clusters = rng.uniform((0, 0), (WIDTH, HEIGHT), (max(1, count // 6), 2))
        height = np.clip(rng.lognormal(5.0, 0.6, count), 20, 900)
        center = clusters[rng.integers(0, len(clusters), count)] + rng.normal(0, 60, (count, 2))
        size = np.stack([0.41 * height, height], 1)
        boxes = np.hstack([center - size / 2, size]).round()  # (count, 4), x y w h
        tags = np.where(rng.random(count) < 0.1, 'mask', 'person').tolist()
        gts = [
            dict(tag=tag, fbox=box, vbox=box, hbox=box)
            for tag, box in zip(tags, boxes.tolist(), strict=True)
        ]
        records.append(dict(ID=str(index), gtboxes=gts))
        dets = boxes[rng.integers(0, count, num_dets)]
        dets = dets + rng.normal(0, 0.12, dets.shape) * dets[:, [2, 3, 2, 3]]
        dets[:, 2:] = dets[:, :2] + np.abs(dets[:, 2:])
        scores = torch.tensor(rng.random(num_dets) ** 2, dtype=torch.float32)
        pred = dict(bboxes=torch.tensor(dets, dtype=torch.float32), scores=scores)
        samples.append(dict(img_id=str(index), ori_shape=(HEIGHT, WIDTH), pred_instances=pred))
    return records, samples


def evaluate(build, samples: list) -> dict:
    """Compute the values of a metric, without its output."""
    metric = build()
    with contextlib.redirect_stdout(io.StringIO()):
        metric.process(None, samples)
        return metric.evaluate(len(samples))


def compare(ann_file: str, names: list[str], samples: list, repeats: int) -> dict[str, dict]:
    """Measure both metrics and check that their values agree."""
    metrics, values = dict(mmdet=CrowdHumanMetric, mmdet_lla=CrowdMetric), {}

    def run(name: str) -> None:
        values[name] = evaluate(partial(metrics[name], ann_file, names), samples)

    times = harness.measure({name: partial(run, name) for name in metrics}, repeats)
    for key, value in values['mmdet'].items():
        if abs(values['mmdet_lla'][key] - value) > 0.5001e-4:  # mmdet rounds to four digits
            raise SystemExit(f'{key}: mmdet computes {value}, we {values["mmdet_lla"][key]}')
    return times


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=1)
    parser.add_argument('--images', type=int, default=300)
    parser.add_argument('--dets', type=int, default=200, help='detections per image')
    parser.add_argument('--people', type=float, default=23, help='mean number per image')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    MMLogger.get_instance('benchmark', log_level='WARNING')
    records, samples = make_crowds(args.images, args.dets, args.people)
    with tempfile.TemporaryDirectory() as directory:
        ann_file = Path(directory, 'gt.odgt')
        ann_file.write_text(''.join(json.dumps(record) + '\n' for record in records))
        found = {
            ', '.join(names): compare(str(ann_file), names, samples, args.repeats)
            for names in (['AP', 'MR'], ['JI'], ['AP', 'MR', 'JI'])
        }
    machine = (
        f'{harness.describe_machine()}, {args.images} images, {args.dets} detections per image, '
        f'median of {args.repeats}'
    )
    harness.write_json(args.out_json, machine, metrics=found)
    rows = []
    for name, times in found.items():
        theirs, ours = (times[key]['processor_ms'] / 1e3 for key in ('mmdet', 'mmdet_lla'))
        rows.append([name, theirs, ours, f'{theirs / ours:.0f}'])
    print(machine + '; processor time in s\n')
    print(harness.format_table(['metrics', 'mmdet', 'mmdet_lla', 'ratio'], rows))


if __name__ == '__main__':
    main()
