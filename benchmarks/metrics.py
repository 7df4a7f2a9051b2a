"""Time CrowdMetric against mmdet's CrowdHumanMetric on the same made-up crowds.

Both are timed from construction to numbers, in one run, so that the ratios mean something on a busy
machine; processor time counts the processes that mmdet starts. ``python benchmarks/metrics.py``
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import tempfile
import time

import numpy as np
import torch

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.evaluation import CrowdHumanMetric
from mmengine.logging import MMLogger

import mmdet_lla.datasets.converters.citypersons  # noqa: F401  (imports are not timed)
from mmdet_lla.evaluation import CityPersonsMetric, CrowdMetric

HEIGHT, WIDTH = 1080, 1440


def make_crowds(num_images: int, num_dets: int, num_people: int, seed: int = 0):
    """Ground truth records and data samples, people in clusters as crowds are."""
    rng = np.random.default_rng(seed)
    records, samples = [], []
    for index in range(num_images):
        count = max(1, rng.poisson(num_people))
        clusters = rng.uniform((0, 0), (WIDTH, HEIGHT), (max(1, count // 6), 2))
        height = np.clip(rng.lognormal(5.0, 0.6, count), 20, 900)
        center = clusters[rng.integers(0, len(clusters), count)] + rng.normal(0, 60, (count, 2))
        size = np.stack([0.41 * height, height], 1)
        boxes = np.hstack([center - size / 2, size]).round()
        ignored = rng.random(count) < 0.1
        people = [
            dict(
                tag='mask' if ignore else 'person',
                fbox=box,
                vbox=box[:3] + [box[3] * share],
                hbox=box,
            )
            for box, ignore, share in zip(
                boxes.tolist(), ignored, rng.uniform(0.2, 1, count), strict=True
            )
        ]
        records.append(dict(ID=str(index), gtboxes=people))
        dets = boxes[rng.integers(0, count, num_dets)]
        dets = dets + rng.normal(0, 0.12, dets.shape) * dets[:, [2, 3, 2, 3]]
        dets[:, 2:] = dets[:, :2] + np.abs(dets[:, 2:])
        samples.append(
            dict(
                img_id=str(index),
                ori_shape=(HEIGHT, WIDTH),
                pred_instances=dict(
                    bboxes=torch.tensor(dets, dtype=torch.float32),
                    scores=torch.tensor(rng.random(num_dets) ** 2, dtype=torch.float32),
                ),
            )
        )
    return records, samples


def processor_seconds() -> float:
    """Of this process and those it started that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(build, samples: list) -> tuple[dict, float, float]:
    """Numbers, wall seconds and processor seconds (children included) of one evaluation."""
    wall, processor = time.perf_counter(), processor_seconds()
    metric = build()
    with contextlib.redirect_stdout(io.StringIO()):
        metric.process(None, samples)
        values = metric.evaluate(len(samples))
    return values, time.perf_counter() - wall, processor_seconds() - processor


def citypersons_file(records: list, path: str) -> None:
    """The same crowds in CityPersons' form; picture IDs become numbers."""
    annotations = [
        dict(
            image_id=index,
            category_id=1,
            bbox=person['fbox'],
            vis_bbox=person['vbox'],
            ignore=int(person['tag'] == 'mask'),
        )
        for index, record in enumerate(records)
        for person in record['gtboxes']
    ]
    images = [dict(id=index, im_name=f'{index}.png') for index in range(len(records))]
    with open(path, 'w') as file:
        json.dump(dict(images=images, annotations=annotations), file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pictures', type=int, default=300, help='for the comparison')
    parser.add_argument('--dets', type=int, default=200, help='detections in each picture')
    parser.add_argument('--people', type=float, default=23, help='people in each, on average')
    parser.add_argument(
        '--all-pictures', type=int, default=4370, help="for ours alone; CrowdHuman val's number"
    )
    args = parser.parse_args()
    MMLogger.get_instance('benchmark', log_level='WARNING')

    with tempfile.TemporaryDirectory() as folder:
        ann_file = os.path.join(folder, 'gt.odgt')

        def prepare(num_images):
            records, samples = make_crowds(num_images, args.dets, args.people)
            with open(ann_file, 'w') as file:
                file.writelines(json.dumps(record) + '\n' for record in records)
            return records, samples

        _, samples = prepare(args.pictures)
        print(f'{args.pictures} pictures, {args.dets} detections and {args.people:g} people each')
        print(f'{"":10}{"mmdet: wall, processor":>26}{"ours: wall, processor":>26}{"ratio":>16}')
        for metric in (['AP', 'MR'], ['JI'], ['AP', 'MR', 'JI']):
            theirs, *before = timed(lambda m=metric: CrowdHumanMetric(ann_file, m), samples)
            ours, *after = timed(lambda m=metric: CrowdMetric(ann_file, m), samples)
            for key, value in theirs.items():
                if abs(ours[key] - value) > 0.5001e-4:
                    raise SystemExit(f'{key}: mmdet finds {value}, we find {ours[key]}')
            print(
                f'{"+".join(metric):10}{before[0]:14.2f} s {before[1]:8.2f} s'
                f'{after[0]:14.3f} s {after[1]:8.3f} s'
                f'{before[0] / after[0]:8.0f}x{before[1] / after[1]:6.0f}x'
            )

        records, samples = prepare(args.all_pictures)
        options = dict(ap_iou_thrs=(0.5, 0.75, 0.9), breakdown=('visible', 'crowded', 'height'))
        print(f'{args.all_pictures} pictures, ours alone: wall, processor')
        _, *spent = timed(lambda: CrowdMetric(ann_file), samples)
        print(f'  AP, MR, JI, recall            {spent[0]:6.2f} s {spent[1]:6.2f} s')
        _, *spent = timed(lambda: CrowdMetric(ann_file, **options), samples)
        print(f'  and AP at 3 IoUs, by 3 groups {spent[0]:6.2f} s {spent[1]:6.2f} s')
        city_file = os.path.join(folder, 'val_gt.json')
        citypersons_file(records, city_file)
        numbered = [dict(sample, img_id=index) for index, sample in enumerate(samples)]
        _, *spent = timed(lambda: CityPersonsMetric(city_file), numbered)
        print(f'  CityPersonsMetric             {spent[0]:6.2f} s {spent[1]:6.2f} s')


if __name__ == '__main__':
    main()
