"""Every error has one type, and impacts equal those of scenes corrected by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_lla.analysis.errors import (
    FN_TYPES,
    FP_TYPES,
    compute_calibration,
    compute_impacts,
    compute_operating_points,
    find_best_thresholds,
    find_errors,
)
from mmdet_lla.analysis.errors.images import find_worst_images
from mmdet_lla.analysis.errors.impact import COMBINED, compute_metrics, correct_errors
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.crowd import evaluate_crowd
from mmdet_lla.evaluation.matching import FP, IGNORED, TP, match_crowd

NO_SAMPLES = np.zeros((0, 1), np.int64)
PERSON, OTHER = [20, 20, 60, 120], [100, 20, 140, 120]
FAR = [0, 150, 30, 190]


def scene(gts, found, regions=()):
    """One image of 200 x 200: gts, (box, score) of detections, ignore regions."""
    ignored = [False] * len(gts) + [True] * len(regions)
    annotation = CrowdAnnotation.create('a', [*gts, *regions], ignored)
    boxes, scores = zip(*found, strict=True) if found else ((), ())
    return [annotation], [CrowdDetections.create('a', boxes, np.array(scores, float), 200, 200)]


def names_of(types, names):
    return [names[i] if i >= 0 else None for i in types]


def metrics_of(annotations, detections):
    result = evaluate_crowd(annotations, detections)
    scores = result.scores()
    return pytest.approx(dict(AP=scores.ap, MR=scores.mr, JI=result.jaccard.best()), abs=1e-12)


@pytest.mark.parametrize(
    ('box', 'fp_type', 'gt'),
    [
        ([21, 21, 60, 120], 'duplicate', 0),
        ([20, 20, 60, 60], 'localization', 0),  # the upper two fifths
        ([15, 10, 150, 125], 'merged', None),  # both are as near
        ([30, 22, 45, 40], 'body_part', 0),  # a head
        ([150, 150, 190, 195], 'ignore_region', -1),
        (FAR, 'background', -1),
        ([140, 130, 178, 199], 'background', -1),  # a little of it in the ignore region
        ([176, 141, 199, 199], None, -1),  # inside the ignore region
    ],
)
def test_false_positive_types(box, fp_type, gt):
    found = [(PERSON, 0.9), (OTHER, 0.8), (box, 0.7)]
    errors = find_errors(*scene([PERSON, OTHER], found, [[175, 140, 200, 200]]), score_thr=0.5)
    assert names_of(errors.fp_type, FP_TYPES) == [None, None, fp_type]
    assert gt is None or errors.fp_gt[2] == gt
    assert (errors.fn_type == -1).all()
    assert errors.count_fps() == {name: int(name == fp_type) for name in FP_TYPES}


@pytest.mark.parametrize(
    ('gts', 'found', 'raw_score', 'fn_type'),
    [
        # a detection that fits both, who stand close
        ([PERSON, [24, 20, 64, 120]], [([22, 20, 62, 120], 0.9)], None, 'matched_elsewhere'),
        ([PERSON], [(PERSON, 0.3)], None, 'low_score'),
        ([PERSON], [([20, 20, 60, 60], 0.9)], None, 'missed'),
        ([PERSON], [], None, 'missed'),
        ([PERSON], [], 0.9, 'suppressed'),
        ([PERSON], [], 0.2, 'low_score'),
    ],
)
def test_false_negative_types(gts, found, raw_score, fn_type):
    raw = None if raw_score is None else scene([PERSON], [(PERSON, raw_score)])[1]
    errors = find_errors(*scene(gts, found), score_thr=0.5, raw=raw)
    assert [name for name in names_of(errors.fn_type, FN_TYPES) if name] == [fn_type]


def random_crowd(seed, num_images=3, first_id=0):
    """Gts, detections around them and elsewhere, ignore regions."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for img_id in range(first_id, first_id + num_images):
        count = int(rng.integers(0, 8))
        corner = rng.uniform(0, 150, (count, 2))
        boxes = np.hstack([corner, corner + rng.uniform(5, 60, (count, 2))])
        annotations.append(CrowdAnnotation.create(img_id, boxes, rng.random(count) < 0.2))
        around = np.repeat(boxes, 2, axis=0) + rng.normal(0, 6, (2 * count, 4))
        corner = rng.uniform(0, 150, (4, 2))
        found = np.vstack([around, np.hstack([corner, corner + rng.uniform(2, 90, (4, 2))])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores = rng.random(len(found)).round(1)
        detections.append(CrowdDetections.create(img_id, found, scores, 200, 200))
    return annotations, detections


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.7]))
def test_types_are_complete_and_exclusive(seed, score_thr):
    annotations, detections = random_crowd(seed)
    errors = find_errors(annotations, detections, score_thr)
    label = evaluate_crowd(annotations, detections).main.label_by_det()
    assert ((errors.fp_type >= 0) == (label == FP)).all()
    assert sum(errors.count_fps().values()) == ((label == FP) & errors.is_shown).sum()
    num_tp = int(((label == TP) & errors.is_shown).sum())
    assert sum(errors.count_fns().values()) == len(errors.fn_type) - num_tp
    assert (errors.fp_gt[errors.fp_type < 0] == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_impacts_start_at_the_metrics_and_end_at_perfection(seed):
    annotations, detections = random_crowd(seed)
    errors = find_errors(annotations, detections, score_thr=0.3)
    base = compute_metrics(errors)
    assert base == metrics_of(annotations, detections)
    impacts = {impact.type: impact for impact in compute_impacts(errors, NO_SAMPLES)}
    assert set(impacts) == {*FP_TYPES, *FN_TYPES, *COMBINED}
    for name, impact in impacts.items():
        for metric, delta in impact.delta.items():
            assert impact.metrics[metric] - base[metric] == pytest.approx(delta)
        if name in FP_TYPES and name != 'localization':  # fewer false positives never hurt
            assert impact.delta['MR'] <= 1e-12
    perfect = match_crowd(correct_errors(errors, FP_TYPES + FN_TYPES))
    assert set(perfect.label) <= {TP, IGNORED}
    assert sorted(perfect.gt[perfect.label == TP]) == list(range(len(perfect.gt_image)))


def test_impacts_of_scenes_corrected_by_hand():
    gts = [PERSON, OTHER]
    found = [(PERSON, 0.9), (FAR, 0.8), ([100, 20, 140, 60], 0.7)]  # TP, background, localization
    errors = find_errors(*scene(gts, found), score_thr=0.5)
    metrics = {impact.type: impact.metrics for impact in compute_impacts(errors, NO_SAMPLES)}
    assert metrics['background'] == metrics_of(*scene(gts, [found[0], found[2]]))
    assert metrics['localization'] == metrics_of(*scene(gts, [*found[:2], (OTHER, 0.7)]))
    assert metrics['missed'] == metrics_of(*scene([PERSON], found))
    assert metrics['all'] == metrics_of(*scene(gts, [found[0], (OTHER, 0.7)]))
    assert metrics['duplicate'] == metrics_of(*scene(gts, found))


def test_intervals_of_impacts():
    parts = [random_crowd(seed, 1, seed) for seed in range(20)]
    annotations, detections = ([one[i][0] for one in parts] for i in (0, 1))
    errors = find_errors(annotations, detections, 0.5)
    samples = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 60)
    for impact in compute_impacts(errors, samples):
        assert all(impact.low[metric] <= impact.high[metric] for metric in impact.delta)
    impact = compute_impacts(errors, np.ones((5, 20), int))[0]
    assert impact.low == impact.high == pytest.approx(impact.delta)


def test_worst_images_have_the_most_errors():
    annotations, detections = random_crowd(1, 6)
    errors = find_errors(annotations, detections, score_thr=0.3)
    worst = find_worst_images(errors, number=6)
    totals = [sum(one.counts.values()) for one in worst]
    assert totals == sorted(totals, reverse=True) and totals[-1] > 0
    for name, count in {**errors.count_fps(), **errors.count_fns()}.items():
        assert sum(one.counts.get(name, 0) for one in worst) == count
    for one in worst:
        alone = find_errors([annotations[one.index]], [detections[one.index]], score_thr=0.3)
        counts = {**alone.count_fps(), **alone.count_fns()}
        assert one.counts == {name: count for name, count in counts.items() if count}
        fps, fns = (sum(one.counts.get(n, 0) for n in names) for names in (FP_TYPES, FN_TYPES))
        assert one.num_detections == one.num_gts - fns + fps
    perfect = find_errors(*scene([PERSON], [(PERSON, 0.9)]), score_thr=0.5)
    assert find_worst_images(perfect) == []


def test_metrics_over_the_threshold():
    found = [(PERSON, 0.9), (FAR, 0.6), (OTHER, 0.4)]
    errors = find_errors(*scene([PERSON, OTHER], found), score_thr=0.5)
    points = compute_operating_points(errors.pairs, errors.matches)
    metrics = {point.threshold: point.metrics for point in points}
    assert metrics[0.5] == pytest.approx(
        dict(precision=0.5, recall=0.5, F1=0.5, JI=1 / 3, false_positives=1, counting_error=0)
    )
    assert metrics[0.7]['precision'] == 1 and metrics[0.7]['counting_error'] == 1
    assert metrics[0.05]['recall'] == 1 and metrics[0.05]['JI'] == pytest.approx(2 / 3)
    best = find_best_thresholds(errors.pairs, errors.matches, np.ones((3, 1), int))
    assert best['JI']['value'] == pytest.approx(2 / 3) and best['JI']['threshold'] <= 0.4
    assert best['F1']['low'] == best['F1']['threshold'] == best['F1']['high']


@pytest.mark.parametrize(('box', 'ece'), [(PERSON, 0.01), (FAR, 0.99)])
def test_calibration(box, ece):
    errors = find_errors(*scene([PERSON], [(box, 0.99)]), score_thr=0.5)
    calibration = compute_calibration(errors.matches)
    assert calibration['ece'] == pytest.approx(ece) and calibration['count'] == [1]


@pytest.mark.parametrize(('score_thr', 'iou_thr'), [(0.5, 0.1), (0.5, 1.0), (np.nan, 0.5)])
def test_thresholds_out_of_range(score_thr, iou_thr):
    with pytest.raises(ValueError, match='_thr is'):
        find_errors(*scene([PERSON], []), score_thr, iou_thr)
