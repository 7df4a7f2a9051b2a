"""Random crowds in CrowdHuman's format, with detections as mmdet's test loop hands them over."""

import json
import queue

import numpy as np
import torch
from mmdet.evaluation import CrowdHumanMetric

HEIGHT, WIDTH = 240, 320


def random_crowd(
    seed, num_images=4, num_dets=25, num_people=8, ignored=0.2, jitter=0.15, score_steps=None
):
    """Make ground truth records and data samples.

    Args:
        seed (int): Seed.
        num_images (int): Images.
        num_dets (int): Detections in each, at most.
        num_people (int): Boxes in each, at most; at least one, or mmdet's metric fails.
        ignored (float): Share of ignore regions.
        jitter (float): How far detections miss people, as a share of their size.
        score_steps (int, optional): Number of different scores, for ties.
    """
    rng = np.random.default_rng(seed)
    records, samples = [], []
    for index in range(num_images):
        img_id = f'{seed},{index}'
        count = rng.integers(1, num_people + 1)
        size = rng.uniform((10, 30), (60, 160), (count, 2)).round()
        # some beyond each border, and a crowd rather than a spread
        corner = rng.uniform((-30, -30), (WIDTH / 2, HEIGHT / 2), (count, 2)).round()
        people = np.hstack([corner, size])
        records.append(
            dict(ID=img_id, gtboxes=[_annotation(box, rng, ignored) for box in people.tolist()])
        )
        found = rng.integers(0, num_dets + 1)
        boxes = people[rng.integers(0, count, found)]
        boxes = boxes + rng.normal(0, jitter, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        stray = rng.random(found) < 0.2
        boxes[stray, :2] = rng.uniform((-80, -80), (WIDTH + 80, HEIGHT + 80), (stray.sum(), 2))
        boxes[:, 2:] = boxes[:, :2] + np.abs(boxes[:, 2:])
        scores = rng.random(found)
        if score_steps is not None:
            scores = np.floor(scores * score_steps) / score_steps
        samples.append(sample_of(img_id, boxes, scores))
    return records, samples


def _annotation(box, rng, ignored):
    masked, hidden = rng.random(2) < ignored / 2
    x, y, width, height = box
    return dict(
        tag='mask' if masked else 'person',
        fbox=box,
        vbox=[x, y, width, round(height * rng.uniform(0.1, 1))],
        hbox=[x, y, width / 2, height / 5],
        extra=dict(ignore=int(hidden)),
        head_attr=dict(ignore=int(rng.random() < 0.2)),
    )


def sample_of(img_id, boxes, scores, height=HEIGHT, width=WIDTH):
    """A data sample as the evaluator hands it to a metric."""
    return dict(
        img_id=img_id,
        ori_shape=(height, width),
        pred_instances=dict(
            bboxes=torch.tensor(np.asarray(boxes), dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(np.asarray(scores), dtype=torch.float32),
        ),
    )


def write_odgt(path, records):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return str(path)


def scores_of_mmdet(ann_file, samples, directory, **kwargs):
    """What mmdet's metric finds, before it rounds."""
    metric = CrowdHumanMetric(ann_file, **kwargs)
    metric.process(None, samples)
    images = metric.load_eval_samples(metric.results2json(metric.results, str(directory / 'dets')))
    matched = metric.compare(images)
    num_gts = sum(p.gt_num - p.ign_num for p in images.values())
    means = []
    for i in range(10):
        # its own method, without its ten processes for each threshold
        results = queue.Queue()
        metric.compute_ji_with_ignore(results, images, 1e-1 * i)
        means.append(metric.gather(list(results.queue))[1])
    return dict(
        mAP=metric.eval_ap(matched, num_gts, len(images)),
        mMR=metric.eval_mr(matched, num_gts, len(images)),
        JI=max(means),
    )
