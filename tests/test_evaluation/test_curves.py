import numpy as np
import pytest

from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.crowd import evaluate_crowd
from mmdet_lla.evaluation.curves import (
    Curve,
    average_precision,
    compute_curve,
    log_average_miss_rate,
    max_recall,
)
from mmdet_lla.evaluation.matching import FP, IGNORED, TP, CrowdMatches


def curve(labels, num_gts, num_images):
    is_tp = np.array(labels, dtype=bool)
    return Curve.from_labels(np.linspace(1, 0, len(labels)), is_tp, num_gts, num_images)


def test_average_precision_by_hand():
    # recall 1/4, 1/4, 2/4; precision 1, 1/2, 2/3
    assert average_precision(curve([1, 0, 1], 4, 1)) == pytest.approx(0.25 * (1 / 2 + 2 / 3) / 2)
    # all found at once: 1, less the strip before the first detection
    assert average_precision(curve([1, 1, 1, 1], 4, 1)) == pytest.approx(0.75)


def test_miss_rate_by_hand():
    # of 10 people 5 are found before anything false, then one false positive in each image
    labels = [1] * 5 + [0] * 100
    assert log_average_miss_rate(curve(labels, 10, 100)) == pytest.approx(0.5)
    # nobody is found below 1 false positive an image, everybody at it
    labels = [0] * 99 + [1] * 9 + [0]
    missed = np.array([1] * 8 + [0.1])
    assert log_average_miss_rate(curve(labels, 10, 100)) == pytest.approx(
        np.exp(np.log(missed).mean())
    )
    assert log_average_miss_rate(curve([1, 1], 2, 1)) == 0.0


def test_nothing_to_count():
    nothing = curve([], 5, 2)
    assert average_precision(nothing) == 0
    assert log_average_miss_rate(nothing) == 1
    assert max_recall(nothing) == 0
    nobody = curve([0, 0], 0, 2)
    assert average_precision(nobody) == 0
    assert log_average_miss_rate(nobody) == 1
    assert max_recall(nobody) == 0


@pytest.fixture
def matches():
    rng = np.random.default_rng(1)
    count, num_gts = 60, 30
    label = rng.choice([TP, FP, IGNORED], count).astype(np.int8)
    gt = np.full(count, -1)
    gt_image = np.sort(rng.integers(0, 5, num_gts))
    hits = np.flatnonzero(label == TP)[:num_gts]
    label[label == TP] = FP
    label[hits] = TP
    gt[hits] = rng.permutation(num_gts)[: len(hits)]
    image = rng.integers(0, 5, count)
    image[hits] = gt_image[gt[hits]]
    score = np.sort(rng.random(count))[::-1]
    return CrowdMatches(score, label, image, np.arange(count), gt, gt_image, 5, 0.5)


def test_some_people_only(matches):
    mask = np.arange(30) % 3 == 0
    some = compute_curve(matches, mask)
    assert some.num_gts == 10
    found = matches.gt[matches.label == TP]
    assert some.tp[-1] == mask[found].sum()
    # nobody owns a false positive
    assert some.fp[-1] == (matches.label == FP).sum()


def test_resampled_images_count_as_copies():
    """Drawing an image twice is the same as evaluating two copies of it."""
    rng = np.random.default_rng(3)
    images = []
    for img_id in range(4):
        people = rng.uniform(0, 60, (5, 4))
        people[:, 2:] += people[:, :2] + 20
        boxes = people[rng.integers(0, 5, 12)] + rng.normal(0, 4, (12, 4))
        images.append((img_id, people, boxes, rng.random(12)))
    draw = [0, 2, 2, 3]

    def evaluate(indices):
        chosen = [(place, *images[index][1:]) for place, index in enumerate(indices)]
        return evaluate_crowd(
            [CrowdAnnotation.create(i, people) for i, people, _, _ in chosen],
            [CrowdDetections.create(i, boxes, s, 200, 200) for i, _, boxes, s in chosen],
        )

    everything, copies = evaluate(range(4)), evaluate(draw)
    counts = np.bincount(draw, minlength=4)
    assert everything.scores(image_counts=counts) == copies.scores()
    assert everything.jaccard.best(counts) == pytest.approx(copies.jaccard.best())
