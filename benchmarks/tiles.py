"""Recall, and people found twice, with tiles and without, on large generated crowds.

``python benchmarks/tiles.py`` finds people in pictures of 4,000 x 3,000 as a whole (resized as the
detector is used to), with ``Tiles`` of each size, as a whole resized as little as those tiles are
(what they stand in for, where memory allows), and with the tiles joined by suppression at IoU 0.5,
as slicing helpers do it. Best first, a detection is right if its IoU with somebody who is not found
yet is above 0.5; if it is so only with people who are found already, it counts as 'twice'. 'At
seams' are people whom the edge of a tile cuts, and detections of those. AP is of all detections,
everything else of those above the threshold.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

import numpy as np
import torch
from mmcv.ops import nms

from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.crowd import evaluate_crowd
from mmdet_lla.inference import Predictor, Tiles
from mmdet_lla.inference.tiles import View, tile_spans
from mmdet_lla.runtime import Detections
from mmdet_lla.synthetic import CrowdParams, make_scene
from mmdet_lla.utils.boxes import box_iou

WIDTH, HEIGHT = 4000, 3000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='lla-s')
    parser.add_argument('--pictures', type=int, default=2)
    parser.add_argument('--people', type=int, default=200, help='a picture, about')
    parser.add_argument('--tiles', type=int, nargs='+', default=[640, 1000])
    parser.add_argument('--threshold', type=float, help="(default: the model's)")
    parser.add_argument('--threads', type=int, default=1, help='of torch')
    parser.add_argument('--no-whole', action='store_true', help='leave out what wants memory')
    return parser.parse_args()


def scene_of(seed: int, people: int):
    """A picture, and the boxes of the people in it and of those who are to be ignored."""
    params = CrowdParams(
        width=WIDTH,
        height=HEIGHT,
        people=people,
        people_spread=0.1,
        max_people=2 * people,
        min_height_px=9,  # 56 pixels here
        max_height_px=(40, 90),
    )
    scene = make_scene(np.random.default_rng([13, seed]), params)
    boxes = {
        ignore: np.array([p.fbox for p in scene.people if p.ignore == ignore]).reshape(-1, 4)
        for ignore in (False, True)
    }
    return scene.image, *(one.clip(0, (WIDTH, HEIGHT) * 2) for one in boxes.values())


class Suppressed(Tiles):
    """The views' detections joined by suppression of what overlaps."""

    def merge(self, views: list[View], found: list[Detections]) -> Detections:
        parts = [
            one.boxes + np.tile((view.region or (0, 0))[:2], 2)
            for view, one in zip(views, found, strict=True)
        ]
        boxes = np.concatenate(parts).astype(np.float32)
        scores = np.concatenate([one.scores for one in found])
        labels = np.zeros(len(boxes), np.int64)
        keep = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)[1].numpy()
        first = found[0]
        return Detections(
            boxes[keep], scores[keep], labels[keep], first.classes, first.height, first.width
        )


def at_seams(boxes: np.ndarray, size: int | None) -> np.ndarray:
    """Which boxes an inner edge of a tile cuts, (n, )."""
    if size is None:
        return np.zeros(len(boxes), bool)
    cut = np.zeros(len(boxes), bool)
    for axis, length in enumerate((WIDTH, HEIGHT)):
        edges = np.unique(tile_spans(length, size, 0.25))
        for edge in edges[(edges > 0) & (edges < length)]:
            cut |= (boxes[:, axis] < edge) & (boxes[:, axis + 2] > edge)
    return cut


def judge(found: Detections, people: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, ...]:
    """Who is found, (people, ); and which detections are of people found already, and false."""
    ious = box_iou(people, found.boxes)
    hit = np.zeros(len(people), bool)
    twice, false = np.zeros(len(found), bool), np.zeros(len(found), bool)
    others = box_iou(ignored, found.boxes).max(0, initial=0) > 0.5
    for i in range(len(found)):
        free = np.where(hit, 0, ious[:, i])
        if free.max(initial=0) > 0.5:
            hit[free.argmax()] = True
        elif ious[:, i].max(initial=0) > 0.5:
            twice[i] = True
        else:
            false[i] = not others[i]
    return hit, twice, false


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    scenes = [scene_of(i, args.people) for i in range(args.pictures)]
    print(f'{sum(len(people) for _, people, _ in scenes)} people in {args.pictures} pictures\n')
    print('| | AP | found | recall | twice | false | people at seams | recall | twice | s |')
    print('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |', flush=True)
    for name, size, options in ways(args):
        predictor = Predictor(args.model, threshold=0, device='cpu', **options)
        threshold = args.threshold or predictor.detector.threshold
        rows, everything, start = [], [], time.process_time()
        for image, people, ignored in scenes:
            everything.append(predictor(image))
            found = everything[-1].above(threshold)
            hit, twice, false = judge(found, people, ignored)
            seam, own = at_seams(people, size), at_seams(found.boxes, size)
            rows.append(
                [len(found), len(people), hit.sum(), twice.sum(), false.sum()]
                + [seam.sum(), hit[seam].sum(), twice[own].sum()]
            )
        seconds = (time.process_time() - start) / len(scenes)
        count, everybody, hits, twice, false, seam, seam_hits, seam_twice = np.sum(rows, 0)
        there = f'{seam} | {seam_hits / max(seam, 1):.3f} | {seam_twice}' if size else '| | '
        print(
            f'| {name} | {average_precision(scenes, everything):.3f} | {count} | '
            f'{hits / everybody:.3f} | {twice} | {false} | {there} | {seconds:.1f} |',
            flush=True,
        )


def average_precision(scenes: list, everything: list[Detections]) -> float:
    annotations, detections = [], []
    for i, ((_, people, ignored), found) in enumerate(zip(scenes, everything, strict=True)):
        boxes = np.concatenate([people, ignored])
        annotations.append(CrowdAnnotation.create(i, boxes, np.arange(len(boxes)) >= len(people)))
        detections.append(
            CrowdDetections.create(i, found.boxes, found.scores, found.height, found.width)
        )
    return evaluate_crowd(annotations, detections, with_jaccard=False).scores().ap


def ways(args: argparse.Namespace):
    """Name, size of tiles, and options of the predictor."""
    yield 'whole, resized', None, {}
    cfg = Predictor(args.model, device='cpu').detector.cfg
    rule = min(
        step['scale'] for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'Resize'
    )
    for size in args.tiles:
        if not args.no_whole:
            factor = min(rule) / size
            options = {
                'test_dataloader.dataset.pipeline.1.scale': (
                    round(WIDTH * factor),
                    round(HEIGHT * factor),
                ),
                'model.test_cfg.nms_pre': 20000,
                'model.test_cfg.max_per_img': 5000,
            }
            yield f'whole, as large as tiles of {size}', size, dict(cfg_options=options)
        yield f'tiles of {size}', size, dict(tiles=Tiles(size))
        yield f'tiles of {size}, suppressed', size, dict(tiles=Suppressed(size))


if __name__ == '__main__':
    main()
