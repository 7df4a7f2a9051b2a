"""Intervals and differences on cases with known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_lla.ablation.compare import (
    RunResults,
    compare_runs,
    evaluate_groups,
    mean_miss_rate,
    mean_precision,
    significance,
)
from mmdet_lla.ablation.plots import _smooth
from mmdet_lla.analysis.statistics import (
    Estimate,
    estimate,
    estimate_fraction,
    paired_difference,
    resample_images,
    resample_seeds,
    small_sample_factor,
)
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.crowd import evaluate_crowd


def measured(effects, images, num_samples=400, seed=0):
    """Return points and values of runs whose metric is a mean over images."""
    images = np.asarray(effects, float)[:, None] + images
    counts = resample_images(images.shape[1], num_samples, seed)
    return images.mean(axis=1), images @ counts.T / images.shape[1]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_bootstrap_samples_add_up_and_repeat(size, num_samples, seed):
    for draw in (resample_images, resample_seeds):
        counts = draw(size, num_samples, seed)
        assert counts.shape == (num_samples, size)
        assert (counts.sum(axis=1) == size).all() and (counts >= 0).all()
        assert (counts == draw(size, num_samples, seed)).all()


@pytest.mark.parametrize(
    'num_seeds, seed_noise, image_noise, noise_of_both',
    [
        (1, 0, 5, 0.3),
        (2, 1, 0.01, 0.3),
        (2, 0.3, 3, 0.3),
        (3, 1, 0.01, 0.3),
        (3, 0.3, 3, 0.3),
        (3, 0.05, 1, 5),
        (5, 1, 0.01, 0.3),
        (5, 0.2, 1, 3),
        (10, 1, 0.01, 0.3),
    ],
)
def test_intervals_have_95_percent_coverage(num_seeds, seed_noise, image_noise, noise_of_both):
    """Also with few seeds, where plain percentiles have 75 % coverage."""
    rng = np.random.default_rng(num_seeds)
    held, widths = 0, []
    for repeat in range(200):
        images = rng.normal(0, image_noise, 60) + rng.normal(0, noise_of_both, (num_seeds, 60))
        found = estimate(*measured(rng.normal(0, seed_noise, num_seeds), images, 300, repeat))
        held += found.low <= 0 <= found.high
        widths.append(found.high - found.low)
    assert 0.89 <= held / 200 <= 1
    # and is not much wider than it must be: than Student's interval of the true error
    error = np.sqrt(image_noise**2 / 60 + (seed_noise**2 + noise_of_both**2 / 60) / num_seeds)
    student = {1: 1.96, 2: 12.71, 3: 4.30, 5: 2.78, 10: 2.26}[num_seeds]
    assert np.mean(widths) < 2 * 1.1 * student * error


def test_factor_is_students_and_tends_to_one():
    assert small_sample_factor(3) == pytest.approx(4.303 / 1.960 * np.sqrt(1.5), rel=1e-3)
    factors = [small_sample_factor(n) for n in range(2, 50)]
    assert factors == sorted(factors, reverse=True)
    assert small_sample_factor(1000) == pytest.approx(1, abs=0.01)


def test_paired_differences_cancel_shared_noise():
    """A config that is better by a little in every run, on images that differ by much."""
    rng = np.random.default_rng(1)
    images, effects = rng.normal(0, 10, (1, 50)), rng.normal(0, 3, 3)
    base = measured(effects, images)
    better = measured(effects + 0.1, images + rng.normal(0, 0.05, (3, 50)))
    found = paired_difference(*better, *base)
    assert not found.is_inconclusive and found.low > 0.05 and found.high < 0.15
    assert estimate(*better).low < estimate(*base).value  # not to be seen without pairing


def test_interval_of_a_fraction_ends_where_fractions_do():
    recalls = measured([-0.02, 0.0, 0.01], np.full((1, 20), 0.98))
    free, found = estimate(*recalls), estimate_fraction(*recalls)
    assert free.high > 1 and found == Estimate(free.value, free.low, 1.0, 3)
    misses = tuple(1 - numbers for numbers in recalls)
    assert estimate(*misses).low < 0 and estimate_fraction(*misses).low == 0


def test_wrong_shapes_are_rejected():
    with pytest.raises(ValueError, match='points have shape'):
        estimate(np.zeros(0), np.zeros((0, 5)))
    with pytest.raises(ValueError, match='points have shape'):
        estimate(np.zeros(2), np.zeros((3, 5)))


@pytest.mark.parametrize(
    'metric, low, high, word',
    [
        ('AP', 0.01, 0.02, 'better'),
        ('AP', -0.02, -0.01, 'worse'),
        ('AP', -0.01, 0.02, 'inconclusive'),
        ('MR', 0.01, 0.02, 'worse'),
        ('MR', -0.02, -0.01, 'better'),
        ('MR', 0, 0.02, 'inconclusive'),
        ('AP', 0, 0, 'equal'),
    ],
)
def test_significance_has_one_word(metric, low, high, word):
    assert significance(metric, Estimate((low + high) / 2, low, high, 3)) == word
    alone = significance(metric, Estimate((low + high) / 2, low, high, 1))
    assert alone == ('equal' if word == 'equal' else 'one seed')


@pytest.fixture(scope='module')
def crowd():
    rng = np.random.default_rng(0)
    annotations = []
    for index in range(30):
        corner = rng.uniform(0, 500, (12, 2))
        height = rng.uniform(40, 200, 12)
        boxes = np.column_stack([corner, corner + np.stack([0.4 * height, height], 1)])
        annotations.append(CrowdAnnotation.create(index, boxes, None, rng.uniform(0.1, 1, 12)))
    return annotations


def detected(annotations, quality, seed):
    """Return detections of a fraction of the people, and some false positives."""
    rng = np.random.default_rng(seed)
    detections = []
    for annotation in annotations:
        found = annotation.boxes[rng.random(len(annotation.boxes)) < quality]
        false = annotation.boxes[:4] + 300
        scores = np.append(rng.uniform(0.4, 1, len(found)), rng.uniform(0, 0.6, 4))
        detections.append(
            CrowdDetections.create(
                annotation.img_id, np.concatenate([found, false]), scores, 900, 900
            )
        )
    return evaluate_crowd(annotations, detections)


def results_of_config(annotations, name, quality, seeds=(0, 1, 2)):
    return RunResults(name, {s: detected(annotations, quality, s) for s in seeds})


def test_equal_runs_have_zero_difference_and_better_runs_do_not(crowd):
    base = results_of_config(crowd, 'base', 0.6)
    comparisons = compare_runs(
        [
            base,
            RunResults('again', base.results),
            results_of_config(crowd, 'good', 0.9),
            results_of_config(crowd, 'bad', 0.3),
        ],
        num_samples=100,
    )
    assert [one.name for one in comparisons] == ['base', 'again', 'good', 'bad']
    assert comparisons[0].differences is None
    for metric, found in comparisons[1].differences.items():
        assert (found.value, found.low, found.high) == (0, 0, 0)
        assert significance(metric, found) == 'equal'
        assert comparisons[1].means[metric] == comparisons[0].means[metric]
    for metric in ('AP', 'MR', 'JI', 'recall'):
        assert significance(metric, comparisons[2].differences[metric]) == 'better'
        assert significance(metric, comparisons[3].differences[metric]) == 'worse'
    points = [result.scores().ap for result in base.results.values()]
    ap = comparisons[0].means['AP']
    assert ap.value == pytest.approx(np.mean(points)) and ap.low < ap.value < ap.high


def test_differences_are_over_common_seeds_and_images(crowd):
    base = results_of_config(crowd, 'base', 0.6)
    few, other, elsewhere = (
        results_of_config(crowd, 'few', 0.6, seeds=(2, 7)),
        results_of_config(crowd, 'other', 0.6, seeds=(8,)),
        results_of_config(crowd[:20], 'elsewhere', 0.6),
    )
    _, few, other, elsewhere = compare_runs([base, few, other, elsewhere], num_samples=20)
    assert few.differences['AP'].value == 0 and few.differences['AP'].num_seeds == 1
    assert few.means['AP'].num_seeds == 2
    assert other.differences is None and elsewhere.differences is None


def test_groups_contain_every_gt_and_their_recalls_add_up(crowd):
    one = results_of_config(crowd, 'base', 0.6)
    for attribute in ('crowded', 'height', 'visible'):
        groups = evaluate_groups(one, attribute, num_samples=20)
        assert sum(group.num_gts for group in groups) == 30 * 12
        total = sum(group.num_gts * group.means['recall'].value for group in groups)
        recall = np.mean([result.scores().recall for result in one.results.values()])
        assert total / 360 == pytest.approx(recall)
        assert all(g.means['AP'].low <= g.means['AP'].high for g in groups)


def test_mean_curves_interpolate_the_runs(crowd):
    one, other = (detected(crowd, quality, 0) for quality in (0.5, 0.9))
    recall = np.array([0.1, 0.4, 0.8])
    precision = mean_precision([one, other], recall)
    assert precision[0] == pytest.approx(1.0) and np.isnan(precision[2])
    assert not np.isnan(mean_precision([other], recall)).any()
    rates = mean_miss_rate([one, other], np.array([0.01, 1, 100]))
    assert (np.diff(rates) <= 0).all()
    last = [1 - result.scores().recall for result in (one, other)]
    assert rates[-1] == pytest.approx(np.mean(last))
    # At 0.01 false positives an image: until the first of them, among 30 images.
    curve = one.curve()
    expected = curve.miss_rate[np.searchsorted(curve.fppi, 0.01)]
    assert mean_miss_rate([one], np.array([0.01]))[0] == pytest.approx(expected)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(0, 100))
@settings(max_examples=50, deadline=None)
def test_smoothing_stays_within_the_values(values, width):
    steps = np.arange(len(values)) * 3.0
    smooth = _smooth(steps, np.array(values), width)
    assert smooth.shape == steps.shape
    assert (smooth >= min(values) - 1e-9).all() and (smooth <= max(values) + 1e-9).all()
    assert _smooth(steps, np.array(values), 0) == pytest.approx(values)
