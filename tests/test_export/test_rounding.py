"""Differences between two detectors that rounding explains, and those that it does not."""

import numpy as np
import pytest
from test_export.plain_nms import plain_nms

from mmdet_lla.export.rounding import NMSCandidates, explain
from mmdet_lla.runtime import Detections

THRESHOLD = 0.6


def candidates_of(boxes, scores, labels=None, shown=None, uncertain=None, **settings):
    """Best first, as they must be."""
    boxes, scores = np.array(boxes, np.float32), np.array(scores, np.float32)
    count = len(boxes)
    found = Detections(
        boxes,
        scores,
        np.zeros(count, int) if labels is None else np.array(labels),
        ('a', 'b'),
        200,
        200,
    )
    return NMSCandidates(
        found,
        boxes,
        np.ones(count, bool) if shown is None else np.array(shown),
        np.zeros(count, bool) if uncertain is None else np.array(uncertain),
        **{'iou_threshold': THRESHOLD, **settings},
    )


def row(*starts: float) -> list:
    """Boxes of 40 x 50 beside each other; two that are 10 apart have an IoU of 0.6."""
    return [(start, 0, start + 40, 50) for start in starts]


def mask(count: int, *places: int) -> np.ndarray:
    found = np.zeros(count, bool)
    found[list(places)] = True
    return found


def reasons(flips) -> list[str]:
    return [flip.reason for flip in flips]


#: The best, one with IoU 0.6 to it, one that the second suppresses, one that the third does.
CHAIN = (0, 10, 19, 28)
SCORES = (0.9, 0.8, 0.7, 0.6)


@pytest.mark.parametrize('shift', (-1e-5, 0, 1e-5))
def test_one_iou_at_the_threshold_changes_those_that_follow(shift):
    found = candidates_of(row(0, 10 + shift, *CHAIN[2:]), SCORES)
    falls, stays = mask(4, 0, 2), mask(4, 0, 1, 3)
    for own, other in ((falls, stays), (stays, falls)):
        wrong, flips = explain(found, own, other)
        assert not wrong.any() and reasons(flips) == ['overlap', 'follows', 'follows']
        assert abs(flips[0].overlap - THRESHOLD) < 1e-6
        assert flips[0].score == np.float32(0.8)


@pytest.mark.parametrize(
    'second, other, expected',
    [
        (9.99, (0, 1, 3), [1]),  # IoU 0.6003
        (10.01, (0, 2), [1]),  # 0.5997
        (10, (0, 1, 2), [2]),  # one that should have followed did not
        (10, (0, 1), [3]),
        (10, (0, 1, 2, 3), [2, 3]),
        (10, (1, 3), [0]),
        (10, (), [0, 1, 2, 3]),
    ],
)
def test_differences_beyond_rounding_are_wrong(second, other, expected):
    found = candidates_of(row(0, second, *CHAIN[2:]), SCORES)
    own = plain_nms(found.boxes, found.found.scores, found.found.labels, THRESHOLD, 9)
    wrong, _ = explain(found, own, mask(4, *other))
    assert np.flatnonzero(wrong).tolist() == expected


def test_classes_do_not_suppress_each_other_unless_class_agnostic():
    boxes, labels = row(0, 1), [0, 1]
    wrong, _ = explain(candidates_of(boxes, SCORES[:2], labels), mask(2, 0, 1), mask(2, 0))
    assert wrong.tolist() == [False, True]
    agnostic = candidates_of(boxes, SCORES[:2], labels, class_agnostic=True)
    wrong, _ = explain(agnostic, mask(2, 0), mask(2, 0, 1))
    assert wrong.tolist() == [False, True]


@pytest.mark.parametrize('gap, expected', [(3e-6, []), (3e-5, [0])])
def test_of_two_equal_scores_either_suppresses_the_other(gap, expected):
    found = candidates_of(row(0, 5), (0.5, 0.5 - gap))
    wrong, flips = explain(found, mask(2, 0), mask(2, 1))
    assert np.flatnonzero(wrong).tolist() == expected
    assert reasons(flips) == (['order'] * 2 if not expected else ['follows'])


@pytest.mark.parametrize('gap, expected', [(3e-6, []), (3e-5, [1])])
def test_of_two_equal_scores_either_is_the_last(gap, expected):
    found = candidates_of(row(0, 50, 100), (0.9, 0.5, 0.5 - gap), limit=2)
    wrong, flips = explain(found, mask(3, 0, 1), mask(3, 0, 2))
    assert np.flatnonzero(wrong).tolist() == expected
    assert reasons(flips) == (['order'] * 2 if not expected else ['follows'])
    for other in ([0], [1]):  # with room left
        wrong, _ = explain(found, mask(3, 0, 1), mask(3, *other))
        assert wrong.any()


def test_scores_next_to_the_threshold_are_uncertain():
    for uncertain in (True, False):
        found = candidates_of(row(0, 50), (0.9, 0.05), uncertain=[False, uncertain])
        wrong, flips = explain(found, mask(2, 0, 1), mask(2, 0))
        assert wrong.tolist() == [False, not uncertain]
        assert reasons(flips) == ['score'] * uncertain


def test_without_nms_overlaps_explain_nothing():
    found = candidates_of(row(0, 10), SCORES[:2], iou_threshold=np.inf)
    wrong, flips = explain(found, mask(2, 0, 1), mask(2, 0))
    assert wrong.tolist() == [False, True] and not flips


def test_boxes_outside_the_image_suppress_others():
    """As where boxes are clipped after NMS."""
    shown = [False, True]
    for second, expected in ((5, False), (20, True)):
        found = candidates_of(row(-41, -41 + second), SCORES[:2], shown=shown)
        wrong, _ = explain(found, mask(2), mask(2))
        assert wrong.tolist() == [False, expected]


@pytest.mark.parametrize('seed', range(4))
def test_crowds_with_ious_next_to_the_threshold(seed):
    """NMS within rounding is explained; NMS beyond it, or with one error, is not."""
    random = np.random.default_rng(seed)
    count = 400
    # rows of boxes with IoU 0.6 to their neighbors; small, where float32 is finer
    x, y = random.integers(0, 12, count), 60.0 * random.integers(0, 20, count)
    boxes = np.stack([x, y, x + 4, y + 50], 1)
    boxes[:, ::2] += random.uniform(-5e-6, 5e-6, (count, 2))
    boxes = boxes.astype(np.float32)
    labels = random.integers(0, 2, count)
    scores = np.sort(random.uniform(0.1, 1, count))[::-1]
    limit = 150
    found = candidates_of(boxes, scores, labels, limit=limit)
    low, own, high, beyond = (
        plain_nms(boxes.astype(np.float64), scores, labels, THRESHOLD + change, limit)
        for change in (-5e-6, 0, 5e-6, -0.3)
    )
    assert (own ^ low).sum() > 20 < (own ^ high).sum()
    for other in (low, high):
        wrong, flips = explain(found, own, other)
        assert not wrong.any() and len(flips) == (own ^ other).sum()
        assert 'overlap' in reasons(flips) and 'follows' in reasons(flips)
        twin = (found.compute_ious(np.arange(count), np.flatnonzero(other)) > 0.9).any(1) & ~other
        changed = other.copy()
        changed[np.flatnonzero(twin)[0]] = True
        assert explain(found, own, changed)[0].any()
        changed = other.copy()
        changed[0] = False  # the best
        assert explain(found, own, changed)[0][0]
    assert explain(found, own, beyond)[0].sum() > 5
    same, flips = explain(found, own, own)
    assert not same.any() and not flips
