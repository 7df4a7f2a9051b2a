import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from mmdet_lla.evaluation import jaccard
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.jaccard import jaccard_index, maximum_matching
from mmdet_lla.evaluation.matching import collect_pairs

SIZE = dict(height=100, width=100)


@given(st.integers(0, 10_000), st.sampled_from([1, 7, 10_000]))
@settings(max_examples=100, deadline=None)
def test_one_graph_of_many_images_gives_each_its_own_matching(seed, pairs_per_call):
    rng = np.random.default_rng(seed)
    pair_det, pair_gt, det_image, expected = [], [], [], {}
    det_start = gt_start = 0
    for image in range(rng.integers(1, 7)):
        links = rng.random(rng.integers(0, 12, 2)) < rng.uniform(0, 0.5)
        if links.size:
            alone = maximum_bipartite_matching(csr_matrix(links), perm_type='column')
            expected |= {d + det_start: g + gt_start for d, g in enumerate(alone) if g >= 0}
        det, gt = np.nonzero(links)
        pair_det.append(det + det_start)
        pair_gt.append(gt + gt_start)
        det_image += [image] * links.shape[0]
        det_start += links.shape[0]
        gt_start += links.shape[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaccard, 'PAIRS_PER_CALL', pairs_per_call)
        dets, gts = maximum_matching(
            np.concatenate(pair_det), np.concatenate(pair_gt), np.array(det_image, int)
        )
    assert dict(zip(dets.tolist(), gts.tolist(), strict=True)) == expected


def index_of(people, ignored, boxes, scores):
    annotation = CrowdAnnotation.create('a', people, ignored)
    detections = CrowdDetections.create('a', boxes, scores, **SIZE)
    return jaccard_index(collect_pairs([annotation], [detections]))


def test_index_by_hand():
    left, right = [0, 0, 10, 20], [50, 0, 60, 20]
    # one of two people found, one false: 1 of 3; above 0.4 only the false one is left
    result = index_of([left, right], [False, False], [left, [80, 80, 90, 99]], [0.4, 0.9])
    assert result.means()[0] == pytest.approx(1 / 3, abs=1e-6)
    assert result.means()[5] == 0
    assert result.best() == pytest.approx(1 / 3, abs=1e-6)


def test_leftovers_in_an_ignore_region_do_not_count():
    left, right = [0, 0, 10, 20], [50, 0, 60, 20]
    region = [40, 0, 80, 50]
    result = index_of([left, right, region], [False, False, True], [left, [60, 10, 70, 30]], [1, 1])
    assert result.best() == pytest.approx(1, abs=1e-5)


def test_maximum_not_greedy():
    # the better detection fits both people, the other only the first: greedily one is lost
    people = [[0, 0, 10, 100], [3, 0, 13, 100]]
    result = index_of(people, [False, False], [[0, 0, 10, 100], [-3, 0, 8, 100]], [0.9, 0.8])
    assert result.means()[0] == pytest.approx(1, abs=1e-5)


def test_nothing_to_match():
    result = index_of([], [], [], [])
    assert result.best() == 0
    assert not result.counted.any()


@pytest.mark.parametrize('heights', [(20, 10), (10, 20)])
def test_iou_of_exactly_half_matches(heights):
    person, box = ([0, 0, 10, height] for height in heights)
    result = index_of([person], [False], [box], [0.9])
    assert result.best() == pytest.approx(1, abs=1e-5)
