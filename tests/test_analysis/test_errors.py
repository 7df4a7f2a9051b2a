"""Every error has one kind, and prices are those of scenes that are corrected by hand."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmdet_lla.analysis.errors import (
    FALSE_ALARMS,
    MISSES,
    best_thresholds,
    calibration,
    find_errors,
    operating_points,
    price_errors,
)
from mmdet_lla.analysis.errors.pictures import draw_costly, most_costly
from mmdet_lla.analysis.errors.prices import GROUPS, base_metrics, corrected
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.crowd import evaluate_crowd
from mmdet_lla.evaluation.matching import DROPPED, HIT, match_crowd

NO_DRAWS = np.zeros((0, 1), np.int64)


def scene(people, found, ignored=()):
    """One picture of 200 x 200: boxes of people, (box, score) of detections, ignore regions."""
    boxes = [*people, *ignored]
    flags = [False] * len(people) + [True] * len(ignored)
    annotation = CrowdAnnotation.create('a', boxes, flags)
    boxes, scores = zip(*found, strict=True) if found else ((), ())
    return [annotation], [CrowdDetections.create('a', boxes, np.array(scores, float), 200, 200)]


def kinds_of(errors):
    return [FALSE_ALARMS[kind] if kind >= 0 else None for kind in errors.alarm]


def misses_of(errors):
    return [MISSES[kind] if kind >= 0 else None for kind in errors.miss]


PERSON, OTHER = [20, 20, 60, 120], [100, 20, 140, 120]


@pytest.mark.parametrize(
    ('box', 'kind', 'person'),
    [
        ([21, 21, 60, 120], 'duplicate', 0),
        ([20, 20, 60, 60], 'loose', 0),  # the upper two fifths
        ([15, 10, 150, 125], 'merged', 1),
        ([30, 22, 45, 40], 'part', 0),  # a head
        ([150, 150, 190, 195], 'ignore', -1),
        ([0, 150, 30, 190], 'background', -1),
        ([140, 130, 178, 199], 'background', -1),  # a little of it at the ignore region
    ],
)
def test_a_false_alarm_has_the_kind_of_its_scene(box, kind, person):
    people = [PERSON, OTHER]
    found = [(PERSON, 0.9), (OTHER, 0.8), (box, 0.7)]
    errors = find_errors(*scene(people, found, [[175, 140, 200, 200]]), score_thr=0.5)
    assert kinds_of(errors) == [None, None, kind]
    if kind != 'merged':  # both are as near
        assert errors.alarm_gt[2] == person
    assert misses_of(errors) == [None, None]
    assert errors.alarm_counts() == {name: int(name == kind) for name in FALSE_ALARMS}


def test_what_an_ignore_region_excuses_is_no_error():
    errors = find_errors(
        *scene([PERSON], [([150, 150, 190, 190], 0.9)], [[140, 140, 200, 200]]), 0.5
    )
    assert kinds_of(errors) == [None]


def test_a_miss_has_the_kind_of_its_scene():
    near = [24, 20, 64, 120]  # of another person, who stands close
    cases = {
        'taken': scene([PERSON, near], [([22, 20, 62, 120], 0.9)]),
        'low': scene([PERSON], [(PERSON, 0.3)]),
        'never': scene([PERSON], [([20, 20, 60, 60], 0.9)]),
    }
    for kind, (annotations, detections) in cases.items():
        errors = find_errors(annotations, detections, score_thr=0.5)
        assert [name for name in misses_of(errors) if name] == [kind]
    annotations, detections = scene([PERSON], [])
    _, raw = scene([PERSON], [(PERSON, 0.9)])
    _, dim = scene([PERSON], [(PERSON, 0.2)])
    assert misses_of(find_errors(annotations, detections, 0.5, raw=raw)) == ['suppressed']
    assert misses_of(find_errors(annotations, detections, 0.5, raw=dim)) == ['low']
    assert misses_of(find_errors(annotations, detections, 0.5)) == ['never']


def random_crowd(seed, num_pictures=3):
    """People, detections around them and elsewhere, ignore regions."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], []
    for img_id in range(num_pictures):
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
def test_kinds_are_complete_and_exclusive(seed, score_thr):
    annotations, detections = random_crowd(seed)
    errors = find_errors(annotations, detections, score_thr)
    matches = evaluate_crowd(annotations, detections).main
    label = np.empty(len(matches.label), int)
    label[matches.det] = matches.label
    # the metric's own false alarms, each with one kind, and nothing else
    assert ((errors.alarm >= 0) == ((label != HIT) & (label != DROPPED))).all()
    shown = errors.pairs.det_score >= score_thr
    assert sum(errors.alarm_counts().values()) == ((errors.alarm >= 0) & shown).sum()
    found = int(((label == HIT) & shown).sum())
    assert sum(errors.miss_counts().values()) == len(errors.miss) - found
    assert (errors.alarm_gt[errors.alarm < 0] == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_prices_start_from_the_metric_and_end_at_perfection(seed):
    annotations, detections = random_crowd(seed)
    errors = find_errors(annotations, detections, score_thr=0.3)
    result = evaluate_crowd(annotations, detections)
    scores = result.scores()
    base = base_metrics(errors)
    assert base == pytest.approx(
        dict(AP=scores.ap, MR=scores.mr, JI=result.jaccard.best()), abs=1e-12
    )
    prices = {price.kind: price for price in price_errors(errors, NO_DRAWS)}
    assert set(prices) == {*FALSE_ALARMS, *MISSES, *GROUPS}
    for kind, price in prices.items():
        for metric, gain in price.gain.items():
            assert price.metrics[metric] - base[metric] == pytest.approx(gain)
        if kind in FALSE_ALARMS and kind != 'loose':  # fewer false alarms never hurt
            assert price.gain['MR'] <= 1e-12
    rest = match_crowd(corrected(errors, FALSE_ALARMS + MISSES))
    assert set(rest.label) <= {HIT, DROPPED}
    assert sorted(rest.gt[rest.label == HIT]) == list(range(len(rest.gt_picture)))


def test_prices_are_those_of_scenes_corrected_by_hand():
    people = [PERSON, OTHER]
    loose = [100, 20, 140, 60]
    found = [(PERSON, 0.9), ([0, 150, 30, 190], 0.8), (loose, 0.7)]
    errors = find_errors(*scene(people, found), score_thr=0.5)
    prices = {price.kind: price.metrics for price in price_errors(errors, NO_DRAWS)}

    def metrics(people, found):
        result = evaluate_crowd(*scene(people, found))
        scores = result.scores()
        return pytest.approx(dict(AP=scores.ap, MR=scores.mr, JI=result.jaccard.best()), abs=1e-12)

    assert prices['background'] == metrics(people, [found[0], found[2]])
    assert prices['loose'] == metrics(people, [*found[:2], (OTHER, 0.7)])
    assert prices['never'] == metrics([PERSON], found)
    assert prices['all'] == metrics(people, [found[0], (OTHER, 0.7)])
    assert prices['duplicate'] == metrics(people, found)


def test_intervals_hold_the_gain_of_equal_pictures():
    annotations, detections = zip(*(random_crowd(s, 1) for s in range(20)), strict=True)
    annotations = [CrowdAnnotation.create(i, *_rest(a[0])) for i, a in enumerate(annotations)]
    detections = [
        CrowdDetections.create(i, d[0].boxes, d[0].scores, 200, 200)
        for i, d in enumerate(detections)
    ]
    errors = find_errors(annotations, detections, 0.5)
    draws = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 60)
    for price in price_errors(errors, draws):
        for metric in price.gain:
            assert price.low[metric] <= price.high[metric]
    price = price_errors(errors, np.ones((5, 20), int))[0]
    assert price.low == price.high == pytest.approx(price.gain)


def test_the_most_costly_pictures_have_the_most_errors():
    annotations, detections = random_crowd(1, 6)
    errors = find_errors(annotations, detections, score_thr=0.3)
    costly = most_costly(errors, number=6)
    totals = [sum(one.counts.values()) for one in costly]
    assert totals == sorted(totals, reverse=True) and totals[-1] > 0
    shown = {**errors.alarm_counts(), **errors.miss_counts()}
    for kind, count in shown.items():
        assert sum(one.counts.get(kind, 0) for one in costly) == count
    for one in costly:
        alone = find_errors([annotations[one.place]], [detections[one.place]], score_thr=0.3)
        assert one.counts == {
            kind: count
            for kind, count in {**alone.alarm_counts(), **alone.miss_counts()}.items()
            if count
        }
        missed = sum(one.counts.get(kind, 0) for kind in MISSES)
        alarms = sum(totals for kind, totals in one.counts.items() if kind in FALSE_ALARMS)
        assert one.shown == one.people - missed + alarms
    perfect = find_errors(*scene([PERSON], [(PERSON, 0.9)]), score_thr=0.5)
    assert most_costly(perfect) == []


def test_costly_pictures_are_drawn_whole(tmp_path):
    annotations, detections = scene([PERSON], [([150, 150, 190, 190], 0.9)], [[100, 5, 130, 20]])
    errors = find_errors(annotations, detections, score_thr=0.5)
    path = tmp_path / 'a.png'
    Image.new('RGB', (1600, 200), (0, 0, 0)).save(path)
    (address,) = draw_costly(
        most_costly(errors), errors, annotations, detections, lambda img_id: path
    )
    drawn = Image.open(io.BytesIO(base64.b64decode(address.partition('base64,')[2])))
    assert drawn.size == (800, 100)
    colors = np.asarray(drawn).reshape(-1, 3).astype(int)
    # red, orange and grey lines are there, and no green one
    assert ((colors[:, 0] > 150) & (colors[:, 1] < 100)).any()
    assert not ((colors[:, 1] > 120) & (colors[:, 0] < 90)).any()


def _rest(annotation):
    return annotation.boxes, annotation.ignored


def test_points_over_the_threshold():
    people = [PERSON, OTHER]
    found = [(PERSON, 0.9), ([0, 150, 30, 190], 0.6), (OTHER, 0.4)]
    errors = find_errors(*scene(people, found), score_thr=0.5)
    points = {p.threshold: p.numbers for p in operating_points(errors.pairs, errors.matches)}
    assert points[0.5] == pytest.approx(
        dict(precision=0.5, recall=0.5, F1=0.5, JI=1 / 3, false_alarms=1, counting_error=0)
    )
    assert points[0.7]['precision'] == 1 and points[0.7]['counting_error'] == 1
    assert points[0.05]['recall'] == 1 and points[0.05]['JI'] == pytest.approx(2 / 3)
    best = best_thresholds(errors.pairs, errors.matches, np.ones((3, 1), int))
    assert best['JI']['value'] == pytest.approx(2 / 3) and best['JI']['threshold'] <= 0.4
    assert best['F1']['low'] == best['F1']['threshold'] == best['F1']['high']


def test_calibration_of_scores_that_are_right_and_of_such_as_boast():
    people = [PERSON]
    right = find_errors(*scene(people, [(PERSON, 0.99)]), score_thr=0.5)
    assert calibration(right.matches)['ece'] == pytest.approx(0.01)
    boast = find_errors(*scene(people, [([0, 150, 30, 190], 0.99)]), score_thr=0.5)
    assert calibration(boast.matches)['ece'] == pytest.approx(0.99)
    assert calibration(boast.matches)['count'] == [1]


@pytest.mark.parametrize('iou_thr', [0.1, 1.0])
def test_thresholds_out_of_range_are_named(iou_thr):
    with pytest.raises(ValueError, match='iou_thr is'):
        find_errors(*scene([PERSON], []), 0.5, iou_thr)
