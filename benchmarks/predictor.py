"""Pictures a second of ``Predictor`` beside mmdet's ``DetInferencer``, same model, same files.

``python benchmarks/predictor.py`` generates crowds, lets both find people in them in interleaved
rounds of one run, and prints pictures a second of wall time and of processor time (which other work
on the machine changes less), best of the rounds, and ratios to ``DetInferencer`` with one picture a
batch. Both give the same detections, else it stops.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

import numpy as np
import torch

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.apis import DetInferencer
from mmengine.logging import MMLogger

from mmdet_lla.datasets.crowd_generator import CrowdParams, build_dataset
from mmdet_lla.inference import Predictor
from mmdet_lla.models import shipped_model


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='lla-s', help='that ships, or config with --weights')
    parser.add_argument('--weights')
    parser.add_argument('--pictures', type=int, default=16)
    parser.add_argument('--size', type=int, nargs=2, default=(640, 480), metavar=('W', 'H'))
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 4])
    parser.add_argument('--workers', type=int, default=2, help='threads of Predictor that decode')
    parser.add_argument('--threads', type=int, default=1, help='of torch')
    parser.add_argument('--rounds', type=int, default=3)
    return parser.parse_args()


def make_pictures(folder: Path, number: int, size: tuple[int, int]) -> list[str]:
    params = CrowdParams(width=size[0], height=size[1])
    build_dataset(str(folder / 'crowd'), 0, number, params, seed=7, workers=1, progress=False)
    return sorted(map(str, (folder / 'crowd' / 'Images').glob('*.jpg')))


def contestants(args: argparse.Namespace, folder: Path) -> dict[str, Callable]:
    """By name, what takes paths and gives boxes and scores of each."""
    found: dict[str, Callable] = {}
    first = Predictor(args.model, args.weights, threshold=0, device='cpu')
    cfg = first.detector.cfg
    cfg.setdefault('visualizer', dict(type='DetLocalVisualizer'))  # theirs asks for one
    cfg.dump(folder / 'config.py')
    weights = args.weights or str(shipped_model(args.model) or args.model)
    theirs = DetInferencer(str(folder / 'config.py'), weights, device='cpu', show_progress=False)

    def infer(paths: list[str], size: int) -> list[tuple]:
        results = theirs(paths, batch_size=size, no_save_vis=True)['predictions']
        return [(np.array(one['bboxes']), np.array(one['scores'])) for one in results]

    def predict(predictor: Predictor, paths: list[str]) -> list[tuple]:
        return [(one.boxes, one.scores) for one in predictor(paths)]

    for size in args.batch_sizes:
        predictor = Predictor(
            args.model,
            args.weights,
            threshold=0,
            device='cpu',
            batch_size=size,
            workers=args.workers,
        )
        found[f'DetInferencer, batches of {size}'] = lambda paths, size=size: infer(paths, size)
        found[f'Predictor, batches of {size}'] = lambda paths, one=predictor: predict(one, paths)
    return found


def check(found: list[tuple], others: list[tuple]) -> None:
    for (boxes, scores), (other_boxes, other_scores) in zip(found, others, strict=True):
        np.testing.assert_allclose(scores, other_scores, atol=1e-4)
        np.testing.assert_allclose(boxes.sum(1), other_boxes.sum(1), atol=0.2)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = make_pictures(folder, args.pictures, args.size)
        ours = contestants(args, folder)
        results = {name: one(paths[: max(args.batch_sizes)]) for name, one in ours.items()}
        for found in results.values():
            check(found, next(iter(results.values())))
        best: dict[str, list[float]] = {name: [np.inf, np.inf] for name in ours}
        for _ in range(args.rounds):
            for name, one in ours.items():
                wall, processor = time.perf_counter(), time.process_time()
                one(paths)
                took = time.perf_counter() - wall, time.process_time() - processor
                best[name] = [min(pair) for pair in zip(best[name], took, strict=True)]
    show(best, args)


def show(best: dict[str, list[float]], args: argparse.Namespace) -> None:
    base = next(iter(best.values()))
    print(
        f'{args.pictures} pictures of {args.size[0]} x {args.size[1]}, {args.threads} thread(s), '
        f'best of {args.rounds}, {os.cpu_count()} cores'
    )
    print('| | pictures a second | ratio | a second of processor time | ratio |')
    print('| --- | ---: | ---: | ---: | ---: |')
    for name, took in best.items():
        cells = [name]
        for seconds, other in zip(took, base, strict=True):
            cells += [f'{args.pictures / seconds:.2f}', f'{other / seconds:.2f}']
        print('| ' + ' | '.join(cells) + ' |')
    print(json.dumps(best), file=sys.stderr)


if __name__ == '__main__':
    main()
