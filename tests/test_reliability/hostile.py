"""Random hostile input for the assigner, the head and the metric, each case from a seed.

    PYTHONPATH=.:tests python tests/test_reliability/hostile.py --cases 20000

runs 20,000 cases; the tests run a few hundred. A check raises where a promise of
docs/results/reliability.md does not hold.
"""

import argparse
import time

import numpy as np
import torch
from lla_heads import TINY, build_head, point_generator
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.utils import register_all_modules
from mmengine.structures import InstanceData
from test_assigners.oracle import cost_table, solve

from mmdet_lla.assigners import LLAAssigner
from mmdet_lla.assigners.inputs import ImageError
from mmdet_lla.evaluation import CrowdMetric

NAN, INF = float('nan'), float('inf')


def hostile_boxes(rng, count, width=128, height=96, inverted=True):
    """Boxes of all kinds: whole, empty, inverted, one point, far outside, huge, tiny, repeated."""
    corner = rng.uniform((-40, -40), (width, height), (count, 2))
    size = rng.uniform(1, 70, (count, 2))
    kind = rng.integers(0, 12, count)
    size[kind == 0] = 0
    size[kind == 1, 0] = 0
    size[kind == 2] *= -1 if inverted else 1
    corner[kind == 3] += rng.choice([-1e4, 1e4])
    size[kind == 4] = rng.choice([1e4, 1e6])
    size[kind == 5] = 1e-3
    boxes = np.hstack([corner, corner + size])
    if count:
        boxes[kind == 6] = boxes[rng.integers(count)]
    return torch.tensor(boxes, dtype=torch.float32)


def spoil(rng, values):
    """A copy with a NaN or an infinity somewhere."""
    values = values.clone()
    values.view(-1)[int(rng.integers(values.numel()))] = rng.choice([NAN, INF, -INF])
    return values


def invert(rng, boxes):
    """A copy with a side that is negative, by a little or by much."""
    boxes, side = boxes.clone(), int(rng.integers(2))
    box = boxes[int(rng.integers(len(boxes)))]
    box[side + 2] = box[side] - rng.choice([1e-2, 1.0, 1e3]) * max(1.0, abs(float(box[side])))
    return boxes


def raises(words, function, *args):
    try:
        function(*args)
    except ValueError as error:
        assert words in str(error), (words, str(error))
    else:
        raise AssertionError(f'no error, expected: {words}')


def check_assigner(seed):
    rng = np.random.default_rng(seed)
    num_priors = int(rng.choice([1, 2, 3, 30, 200]))
    many = rng.random() < 0.01
    num_gts = 2500 if many else int(rng.choice([0, 1, 2, 5, 20, 60]))
    num_ignored = int(rng.choice([0, 0, 1, 5]))
    num_classes = int(rng.choice([1, 1, 3, 80]))
    topk = int(rng.choice([1, 2, 10, 300]))
    dtype = [torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16][
        int(rng.integers(5))
    ]
    points = torch.tensor(rng.uniform((0, 0), (128, 96), (num_priors, 2)), dtype=torch.float32)
    if rng.random() < 0.5:  # on a grid, as from a head
        points = (points / 8).round() * 8
        points = points[np.lexsort(points.T.numpy())]
    preds = hostile_boxes(rng, num_priors).clamp(-3e4, 3e4).to(dtype)
    scores = torch.tensor(rng.normal(-2, rng.choice([0.5, 3, 100]), (num_priors, num_classes)))
    scores = scores.to(dtype)
    gts, ignored = hostile_boxes(rng, num_gts, inverted=False), hostile_boxes(rng, num_ignored)
    labels = torch.tensor(rng.integers(0, num_classes, num_gts))
    assigner = LLAAssigner(topk=topk)

    wrap = HorizontalBoxes if seed % 2 else torch.as_tensor
    result = assigner.assign(
        InstanceData(priors=points, bboxes=preds, scores=scores),
        InstanceData(bboxes=wrap(gts), labels=labels),
        InstanceData(bboxes=wrap(ignored)) if num_ignored else None,
    )
    gt_inds, overlaps = result.gt_inds, result.max_overlaps
    assert gt_inds.shape == overlaps.shape == result.labels.shape == (num_priors,)
    assert gt_inds.min() >= -1 and gt_inds.max() <= num_gts
    assert overlaps.isfinite().all() and 0 <= overlaps.min() and overlaps.max() <= 1
    assert (overlaps[gt_inds == 0] == 0).all()
    positive = gt_inds > 0
    assert torch.equal(result.labels[positive], labels[gt_inds[positive] - 1])
    assert (result.labels[~positive] == -1).all()
    assert (gt_inds != 0).any() == bool(num_gts + num_ignored)
    if num_gts + num_ignored and not many:
        boxes = torch.cat([gts, ignored])
        classes = torch.cat([labels, labels.new_zeros(num_ignored)])
        answer = solve(cost_table(points, preds.float(), scores.float(), boxes, classes), topk)
        if answer.margin > 2e-2:  # beyond what float32 can blur in costs of thousands
            owner = torch.where(answer.owner < num_gts, answer.owner + 1, -1)
            assert torch.equal(gt_inds, owner), (gt_inds, owner)


def check_batch(seed):
    """A batch is assigned as its images alone; an error names the first wrong image."""
    rng = np.random.default_rng(seed)
    num_priors, num_classes = int(rng.choice([1, 3, 30, 200])), int(rng.choice([1, 3]))
    points = torch.tensor(rng.uniform((0, 0), (128, 96), (num_priors, 2)), dtype=torch.float32)
    points = points[np.lexsort((points / 8).round().T.numpy())]
    num_images = int(rng.choice([1, 2, 3, 5]))
    spread = rng.choice([0.5, 3, 1000])
    preds = torch.stack([hostile_boxes(rng, num_priors) for _ in range(num_images)])
    preds = preds.clamp(-3e4, 3e4)
    size = num_images, num_priors, num_classes
    scores = torch.tensor(rng.normal(-2, spread, size), dtype=torch.float32)
    gts, ignored = [], []
    for _ in range(num_images):
        boxes = hostile_boxes(rng, int(rng.choice([0, 1, 5, 40])), inverted=False)
        labels = torch.tensor(rng.integers(0, num_classes, len(boxes)))
        gts.append(InstanceData(bboxes=boxes, labels=labels))
        boxes = hostile_boxes(rng, int(rng.choice([0, 0, 3])))
        ignored.append(InstanceData(bboxes=boxes) if rng.random() < 0.7 else None)
    assigner = LLAAssigner(
        topk=int(rng.choice([1, 10, 300])),
        ignore=str(rng.choice(['compete', 'compete', 'overlap', 'unused'])),
        contested=str(rng.choice(['all', 'all', 'picked'])),
    )
    if seed % 4 == 0 and len(gts[-1]):
        if rng.random() < 0.5:
            preds[-1] = spoil(rng, preds[-1])
        else:
            gts[-1].bboxes = invert(rng, gts[-1].bboxes)
        try:
            assigner.assign_batch(points, preds, scores, gts, ignored)
        except ImageError as error:
            assert error.img == num_images - 1
        else:
            raise AssertionError('no error')
        return
    batch = assigner.assign_batch(points, preds, scores, gts, ignored)
    for index in range(num_images):
        alone = assigner.assign(
            InstanceData(priors=points, bboxes=preds[index], scores=scores[index]),
            gts[index],
            ignored[index],
        )
        found = batch.select(index)
        assert found.num_gts == alone.num_gts
        for name in ('gt_inds', 'max_overlaps', 'labels'):
            assert torch.equal(getattr(found, name), getattr(alone, name)), name


HEADS = {}


def make_head(strides):
    if strides not in HEADS:
        HEADS[strides] = build_head(
            num_classes=2, **TINY, anchor_generator=point_generator(*strides)
        )
    return HEADS[strides]


def check_head(seed):
    rng = np.random.default_rng(seed)
    strides = [(8,), (8, 16), (8, 16, 32, 64, 128)][int(rng.integers(3))]
    side = int(rng.choice([1, 32, 64]))
    images = int(rng.choice([1, 2, 3]))
    sizes = [-(-side // stride) for stride in strides]
    scale = rng.choice([0.1, 3, 50])

    def maps(channels, positive=False):
        values = [
            torch.tensor(rng.normal(0, scale, (images, channels, n, n)), dtype=torch.float32)
            for n in sizes
        ]
        return [
            (v.relu() * s if positive else v).requires_grad_()
            for v, s in zip(values, strides, strict=True)
        ]

    preds = [maps(2), maps(4, positive=True), maps(1)]
    gts, ignored = [], []
    for _ in range(images):
        boxes = hostile_boxes(rng, int(rng.choice([0, 1, 4, 30])), side, side, inverted=False)
        wrap = HorizontalBoxes if seed % 2 else torch.as_tensor
        gts.append(
            InstanceData(bboxes=wrap(boxes), labels=torch.tensor(rng.integers(0, 2, len(boxes))))
        )
        ignored.append(InstanceData(bboxes=wrap(hostile_boxes(rng, int(rng.choice([0, 2]))))))
    metas = [dict(img_shape=(side, side))] * images
    head = make_head(strides)
    if seed % 4 == 0 and len(gts[0]):
        which = int(rng.integers(3))
        if which == 2:
            gts[0].bboxes = wrap(invert(rng, torch.as_tensor(gts[0].bboxes)))
            raises('holds a box with x2 < x1', head.loss_by_feat, *preds, gts, metas, ignored)
            return
        with torch.no_grad():
            preds[which][0][0] = spoil(rng, preds[which][0][0])
        raises('holds NaN or infinite', head.loss_by_feat, *preds, gts, metas, ignored)
        return
    losses = head.loss_by_feat(*preds, gts, metas, ignored)
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_iou'}
    assert all(0 <= loss < INF for loss in losses.values()), losses
    sum(losses.values()).backward()
    for one in sum(preds, []):
        assert one.grad is not None and one.grad.isfinite().all()


def check_metric(seed):
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(int(rng.choice([1, 2, 4]))):
        count = 3000 if rng.random() < 0.002 else int(rng.choice([0, 1, 5, 40]))
        gts, ignored = (hostile_boxes(rng, int(rng.choice([0, 1, 8]))) for _ in range(2))
        found = hostile_boxes(rng, count)
        if len(gts) and count:
            near = rng.random(count) < 0.5
            found[near] = gts[rng.integers(0, len(gts), near.sum())] + 2
        steps = rng.choice([2.0, 1e9])
        samples.append(
            dict(
                img_id=f'{index}',
                ori_shape=(96, 128),
                gt_instances=dict(bboxes=gts),
                ignored_instances=dict(bboxes=ignored),
                pred_instances=dict(
                    bboxes=found,
                    labels=torch.zeros(count).long(),
                    scores=torch.tensor(np.floor(rng.random(count) * steps) / steps),
                ),
            )
        )

    def evaluate(samples):
        metric = CrowdMetric(metric=['AP', 'MR', 'JI', 'recall'])
        metric.process({}, samples)
        return metric.compute_metrics(metric.results)

    victim = samples[int(rng.integers(len(samples)))]['pred_instances']
    if seed % 4 == 0 and len(victim['bboxes']):
        key = str(rng.choice(['bboxes', 'scores']))
        victim[key] = spoil(rng, victim[key])
        raises('finite', evaluate, samples)
        return
    result = evaluate(samples)
    assert {'mAP', 'mMR', 'JI', 'recall'} <= set(result), result
    assert all(0 <= value <= 1 for value in result.values()), result
    assert evaluate(samples[::-1]) == result
    assert evaluate(samples + samples[:1]) == result  # an image handed over twice counts once


CHECKS = dict(
    assigner=(check_assigner, 0.4),
    batch=(check_batch, 0.1),
    head=(check_head, 0.2),
    metric=(check_metric, 0.3),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', type=int, default=20000)
    args = parser.parse_args()
    register_all_modules()
    torch.set_num_threads(1)
    total = 0
    for name, (check, share) in CHECKS.items():
        begin, count = time.time(), round(args.cases * share)
        for seed in range(count):
            try:
                check(seed)
            except Exception as error:
                raise AssertionError(f'{check.__name__}({seed})') from error
            if seed % 500 == 499:
                left = (time.time() - begin) / (seed + 1) * (count - seed - 1)
                print(f'{name}: {seed + 1} of {count}, {left:.0f} s left', flush=True)
        total += count
    print(f'{total} cases hold')


if __name__ == '__main__':
    main()
