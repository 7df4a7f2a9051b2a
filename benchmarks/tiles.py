"""Recall and duplicates with and without tiles on large generated crowds.

``python benchmarks/tiles.py`` detects people in images of 4,000 x 3,000: the whole image at the
detector's usual size, the whole image at the scale of the tiles (where memory allows), ``Tiles``,
and tiles merged by NMS at IoU 0.5. In descending order of score, a detection with an IoU above 0.5
with a gt that is not detected yet is a TP; with detected ones only, a duplicate. AP is of all
detections, everything else of those above the score threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import harness
import numpy as np
import torch

import mmdet_lla  # noqa: F401  (before mmcv: operators for mmcv-lite)

# isort: split
from mmcv.ops import nms

from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.crowd import evaluate_crowd
from mmdet_lla.inference import Predictor, Tiles
from mmdet_lla.inference.tiles import View
from mmdet_lla.runtime import Detections
from mmdet_lla.synthetic import CrowdParams, make_scene
from mmdet_lla.utils.boxes import box_iou

WIDTH, HEIGHT = 4000, 3000


def make_crowd(seed: int, num_people: int) -> tuple[np.ndarray, CrowdAnnotation]:
    """Generate an image of a crowd with its annotation."""
    params = CrowdParams(
        width=WIDTH,
        height=HEIGHT,
        people=num_people,
        people_spread=0.1,
        max_people=2 * num_people,
        min_height_px=9,  # 56 pixels here
        max_height_px=(40, 90),
    )
    scene = make_scene(np.random.default_rng([13, seed]), params)
    boxes = np.array([person.fbox for person in scene.people]).reshape(-1, 4)
    ignored = np.array([person.ignore for person in scene.people], bool)
    return scene.image, CrowdAnnotation.create(seed, boxes.clip(0, (WIDTH, HEIGHT) * 2), ignored)


class NMSTiles(Tiles):
    """Tiles whose detections are merged by NMS."""

    def merge(self, views: list[View], found: list[Detections]) -> Detections:
        boxes = np.concatenate(
            [
                one.boxes + np.tile((view.region or (0, 0))[:2], 2)
                for view, one in zip(views, found, strict=True)
            ]
        ).astype(np.float32)
        scores = np.concatenate([one.scores for one in found])
        keep = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)[1].numpy()
        labels, one = np.zeros(len(keep), np.int64), found[0]
        return Detections(boxes[keep], scores[keep], labels, one.classes, one.height, one.width)


def count_matches(found: Detections, annotation: CrowdAnnotation) -> np.ndarray:
    """Count TPs, duplicates and FPs."""
    ious = box_iou(annotation.gt_bboxes, found.boxes)  # (num_gts, num_dets)
    on_ignored = box_iou(annotation.boxes[annotation.ignored], found.boxes) > 0.5
    detected, counts = np.zeros(len(ious), bool), np.zeros(3, int)
    for i in range(len(found)):
        remaining = np.where(detected, 0, ious[:, i])
        if remaining.max(initial=0) > 0.5:
            detected[remaining.argmax()] = True
            counts[0] += 1
        elif ious[:, i].max(initial=0) > 0.5:
            counts[1] += 1
        elif not on_ignored[:, i].any():
            counts[2] += 1
    return counts


def list_settings(args) -> Iterator[tuple[str, dict]]:
    """Yield the compared options of Predictor by name."""
    yield 'whole image, resized', {}
    cfg = Predictor(args.model, device='cpu').detector.cfg
    steps = cfg.test_dataloader.dataset.pipeline
    side = min(min(step['scale']) for step in steps if step['type'] == 'Resize')
    for size in args.tiles:
        if not args.no_whole:
            options = {
                'test_dataloader.dataset.pipeline.1.scale': (
                    round(WIDTH * side / size),
                    round(HEIGHT * side / size),
                ),
                'model.test_cfg.nms_pre': 20000,
                'model.test_cfg.max_per_img': 5000,
            }
            yield f'whole image at the scale of {size} tiles', dict(cfg_options=options)
        yield f'tiles of {size}', dict(tiles=Tiles(size))
        yield f'tiles of {size}, NMS', dict(tiles=NMSTiles(size))


def measure(predictor: Predictor, images: list, annotations: list, threshold: float) -> dict:
    """Measure AP, recall, duplicates and FPs of a predictor without score threshold."""
    start = harness.processor_seconds()
    found = predictor(images)
    seconds = harness.processor_seconds() - start
    detections = [
        CrowdDetections.create(gt.img_id, one.boxes, one.scores, one.height, one.width)
        for gt, one in zip(annotations, found, strict=True)
    ]
    pairs = zip(found, annotations, strict=True)
    counts = sum(count_matches(one.above(threshold), gt) for one, gt in pairs)
    return dict(
        ap=evaluate_crowd(annotations, detections, with_jaccard=False).scores().ap,
        recall=counts[0] / sum(len(gt.gt_bboxes) for gt in annotations),
        duplicates=int(counts[1]),
        fps=int(counts[2]),
        processor_s=seconds / len(images),
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=1)
    parser.add_argument('--model', default='lla-s')
    parser.add_argument('--images', type=int, default=2)
    parser.add_argument('--people', type=int, default=200, help='mean number per image')
    parser.add_argument('--tiles', type=int, nargs='+', default=[640, 1000])
    parser.add_argument('--threshold', type=float, help="(default: the model's)")
    parser.add_argument('--no-whole', action='store_true', help='skip what needs much memory')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    crowds = [make_crowd(seed, args.people) for seed in range(args.images)]
    images, annotations = map(list, zip(*crowds, strict=True))
    found = {}
    for name, options in list_settings(args):
        predictor = Predictor(args.model, threshold=0, device='cpu', **options)
        threshold = args.threshold or predictor.detector.threshold
        found[name] = measure(predictor, images, annotations, threshold)
    machine = f'{harness.describe_machine()}, {args.images} images'
    harness.write_json(args.out_json, machine, settings=found)
    header = ['', *next(iter(found.values()))]
    print(machine + '\n')
    print(harness.format_table(header, [[name, *row.values()] for name, row in found.items()]))


if __name__ == '__main__':
    main()
