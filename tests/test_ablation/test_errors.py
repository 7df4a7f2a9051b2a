"""The errors' section of a study: rates and impacts of each type, and their differences."""

import numpy as np
import pytest

from mmdet_lla.ablation.compare import (
    ERROR_KEYS,
    ERROR_NUMBERS,
    compare_errors,
    find_run_errors,
    significance,
)
from mmdet_lla.analysis.errors import compute_impacts, find_errors
from mmdet_lla.analysis.test_sets import TestSet
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections


def stand_in(annotations):
    """A test set without a config."""
    tested = TestSet.__new__(TestSet)
    tested.annotations = {one.img_id: one for one in annotations}
    tested.iou_thr, tested.mr_ref = 0.5, 'CALTECH_-2'
    return tested


def crowd(num_images=12):
    """Images of six people in a row."""
    left = 60.0 * np.arange(6)
    boxes = np.stack([left, 0 * left, left + 40, 100 + 0 * left], axis=1)
    return [CrowdAnnotation.create(i, boxes) for i in range(num_images)]


def detected(annotations, seed, twice=0, missed=0):
    """Return detections without the last ``missed`` people and with ``twice`` duplicates."""
    rng = np.random.default_rng(seed)
    found = []
    for one in annotations:
        boxes = one.boxes[: len(one.boxes) - missed] + rng.normal(0, 1, (6 - missed, 4))
        again = one.boxes[:twice] + [3, 0, 3, 0]
        scores = np.concatenate([rng.uniform(0.8, 0.9, len(boxes)), rng.uniform(0.6, 0.9, twice)])
        found.append(
            CrowdDetections.create(one.img_id, np.vstack([boxes, again]), scores, 200, 400)
        )
    return found


def test_rates_and_impacts_equal_the_errors():
    annotations = crowd()
    detections = detected(annotations, 0, twice=2, missed=1)
    run = find_run_errors(stand_in(annotations), detections[::-1], num_samples=8)
    assert run.img_ids == list(range(12)) and run.values.shape == (len(ERROR_KEYS), 8)
    found = dict(zip(ERROR_KEYS, run.points, strict=True))
    assert found['rate', 'missed'] == pytest.approx(1 / 6) and found['rate', 'background'] == 0
    # the threshold that is best by JI shows some of the second boxes at most
    assert 0 < found['rate', 'duplicate'] <= 2 / 6
    errors = find_errors(annotations, detections, 0.0)
    impacts = {one.type: one.delta for one in compute_impacts(errors, np.zeros((0, 12), int))}
    for number, impact in dict(AP=1, MR=-1).items():
        value = found[number, 'duplicate']
        assert value == pytest.approx(impact * impacts['duplicate'][number]) and value > 0


def test_significant_differences_are_found():
    annotations = crowd()
    tested = stand_in(annotations)

    def runs(**options):
        return {
            seed: find_run_errors(tested, detected(annotations, seed, **options), 20)
            for seed in range(3)
        }

    base = runs(missed=2)
    comparisons = compare_errors({'base': base, 'again': base, 'other': runs(twice=2, missed=1)})
    assert [one.name for one in comparisons] == ['base', 'again', 'other']
    first, again, other = comparisons
    assert first.differences is None
    for saying in ERROR_NUMBERS:
        assert {significance('MR', one) for one in again.differences[saying].values()} == {'equal'}
    assert significance('MR', other.differences['rate']['missed']) == 'better'
    assert significance('MR', other.differences['rate']['duplicate']) == 'worse'
    assert other.differences['AP']['duplicate'].value > 0
    assert other.means['rate']['missed'].value == pytest.approx(1 / 6)


def test_runs_on_other_images_are_not_compared():
    few, many = crowd(3), crowd(4)
    runs = {
        name: {0: find_run_errors(stand_in(some), detected(some, 0), 4)}
        for name, some in (('few', few), ('many', many))
    }
    assert compare_errors(runs)[1].differences is None


def test_a_stranger_among_the_detections_is_named():
    tested = stand_in(crowd(1))
    with pytest.raises(ValueError, match="image 'x' has detections"):
        find_run_errors(tested, [CrowdDetections.create('x', [], [], 10, 10)])
