"""Statistics against hand-made cases and a plain double loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation.functional import bbox_overlaps

from mmdet_lla.datasets.statistics import OVERLAPS, compute_statistics, plot_statistics


def person(fbox, vbox=None, **extra):
    return {'tag': 'person', 'fbox': fbox, 'vbox': vbox or fbox, 'extra': extra}


def test_hand_made():
    records = [
        {
            'ID': 'a',
            'gtboxes': [
                person([0, 0, 10, 20], [0, 0, 10, 5]),
                person([0, 0, 10, 40]),  # IoU 0.5 with the first, which is not more than 0.5
                person([0, 0, 10, 39]),  # IoU 0.51 with the first, 0.975 with the second
                person([0, 0, 10, 20], ignore=1),
                {'tag': 'mask', 'fbox': [0, 0, 10, 20]},
                person([0, 0, 0, 20]),
            ],
        },
        {'ID': 'b', 'gtboxes': []},
    ]
    result = compute_statistics(records, {'a': (80, 100)})
    summary = result.summarize()
    assert result.people.tolist() == [3, 0]
    assert result.ignored.tolist() == [2, 0]
    assert result.pairs.tolist() == [[3, 2, 1], [0, 0, 0]]
    assert sorted(result.relative_heights) == [20 / 80, 39 / 80, 40 / 80]
    assert summary['people per image'] == 1.5
    assert summary['pairs per image, IoU > 0.5'] == 1.0
    assert summary['visible fraction, mean'] == pytest.approx((0.25 + 1 + 1) / 3)
    assert summary['people less than 65 % visible'] == pytest.approx(1 / 3)
    assert summary['images without people'] == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(1, 8)] * 2), min_size=0, max_size=8)
)
def test_pairs_equal_a_plain_count(boxes):
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
    overlaps = bbox_overlaps(corners, corners)
    # Ratios of small integers are never within 1e-4 of a threshold unless equal to it.
    expected = [
        sum(overlaps[i, j] > t + 1e-4 for i in range(len(boxes)) for j in range(i))
        for t in OVERLAPS
    ]
    records = [{'ID': 'a', 'gtboxes': [person(list(box)) for box in boxes]}]
    pairs = [int(v) for v in compute_statistics(records).pairs[0]]
    equal = [
        sum(abs(overlaps[i, j] - t) <= 1e-4 for i in range(len(boxes)) for j in range(i))
        for t in OVERLAPS
    ]
    assert all(e <= p <= e + q for e, p, q in zip(expected, pairs, equal, strict=True))


@pytest.mark.parametrize('people', [0, 1, 5])
def test_plots_of_any_statistics(tmp_path, people):
    records = [{'ID': 'a', 'gtboxes': [person([i, 0, 10, 20]) for i in range(people)]}]
    plot_statistics(compute_statistics(records), str(tmp_path / 'plot.png'), 'people')
    assert (tmp_path / 'plot.png').stat().st_size > 5000
