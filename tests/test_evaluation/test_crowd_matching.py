import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections
from mmdet_lla.evaluation.matching import (
    FP,
    IGNORED,
    TP,
    collect_pairs,
    match_crowd,
    match_greedily,
)
from mmdet_lla.evaluation.overlaps import clip_boxes
from mmdet_lla.utils.boxes import box_ioa, box_iou

SIZE = dict(height=40, width=40)


def boxes(max_size):
    # a coarse grid, so that overlaps are often equal
    corner, side = st.integers(-1, 4), st.integers(1, 3)
    box = st.tuples(corner, corner, side, side)
    return st.lists(box, max_size=max_size).map(
        lambda rows: [[8.0 * x, 8.0 * y, 8.0 * (x + w), 8.0 * (y + h)] for x, y, w, h in rows]
    )


@st.composite
def images(draw):
    result = []
    for index in range(draw(st.integers(1, 3))):
        gts, dets = draw(boxes(6)), draw(boxes(8))
        ignored = draw(st.lists(st.booleans(), min_size=len(gts), max_size=len(gts)))
        level = st.integers(0, 3)
        scores = draw(st.lists(level, min_size=len(dets), max_size=len(dets)))
        result.append(
            (
                CrowdAnnotation.create(index, gts, ignored),
                CrowdDetections.create(index, dets, np.array(scores) / 4, **SIZE),
            )
        )
    return result


def plain_labels(annotation, detections, iou_thr):
    """The rule as one would say it: detection by detection, person by person."""
    gts, dets = (clip_boxes(part.boxes, (40, 40)) for part in (annotation, detections))
    iou, coverage = box_iou(dets, gts), box_ioa(dets, gts)
    taken, labels = set(), {}
    for det in sorted(range(len(dets)), key=lambda i: -detections.scores[i]):
        best, best_iou = None, iou_thr
        for gt in range(len(gts)):
            if not annotation.ignored[gt] and gt not in taken and iou[det, gt] > best_iou:
                best, best_iou = gt, iou[det, gt]
        if best is not None:
            taken.add(best)
            labels[det] = TP, best
        elif any(coverage[det, annotation.ignored] > iou_thr):
            labels[det] = IGNORED, -1
        else:
            labels[det] = FP, -1
    return [labels[det] for det in range(len(dets))]


@given(images(), st.sampled_from([0.25, 0.5, 0.75]))
@settings(max_examples=300, deadline=None)
def test_greedy_rule(crowd, iou_thr):
    annotations, detections = zip(*crowd, strict=True)
    pairs = collect_pairs(annotations, detections, min_iou=0.25)
    matches = match_crowd(pairs, iou_thr)
    assert np.all(np.diff(matches.score) <= 0)
    got = {}
    for det, label, gt in zip(matches.det, matches.label, matches.gt, strict=True):
        got[int(det)] = int(label), int(pairs.gt_index[gt]) if gt >= 0 else -1
    expected = [
        label for annotation, dets in crowd for label in plain_labels(annotation, dets, iou_thr)
    ]
    assert [got[det] for det in range(len(expected))] == expected


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_matching_by_score_is_serial_dictatorship(data):
    num_dets, num_gts = data.draw(st.integers(0, 8)), data.draw(st.integers(1, 8))
    likes = [data.draw(st.permutations(range(num_gts))) for _ in range(num_dets)]
    likes = [row[: data.draw(st.integers(0, num_gts))] for row in likes]
    by_score = np.array(data.draw(st.permutations(range(num_dets))), dtype=np.int64)
    det = np.repeat(np.arange(num_dets), [len(row) for row in likes])
    gt = np.array([g for row in likes for g in row], dtype=np.int64)
    matched = match_greedily(det, gt, by_score, num_gts)

    free, expected = set(range(num_gts)), np.full(num_dets, -1)
    for det in by_score:
        expected[det] = next((g for g in likes[det] if g in free), -1)
        free.discard(expected[det])
    assert matched.tolist() == expected.tolist()


def test_ignore_region_takes_any_number_but_only_leftovers():
    person, region = [0, 0, 10, 20], [0, 0, 40, 40]
    annotation = CrowdAnnotation.create('a', [region, person], [True, False])
    detections = CrowdDetections.create(
        'a', [person, person, [20, 20, 30, 40]], [0.9, 0.8, 0.7], **SIZE
    )
    matches = match_crowd(collect_pairs([annotation], [detections]))
    assert matches.label.tolist() == [TP, IGNORED, IGNORED]


def test_iou_at_the_threshold_is_no_match():
    annotation = CrowdAnnotation.create('a', [[0, 0, 10, 20]])
    detections = CrowdDetections.create('a', [[0, 0, 10, 10]], [0.9], **SIZE)
    assert match_crowd(collect_pairs([annotation], [detections])).label.tolist() == [FP]


def test_bad_input_is_named():
    annotation = CrowdAnnotation.create('a', [])
    detections = CrowdDetections.create('b', [], [], **SIZE)
    with pytest.raises(ValueError, match="'a' is paired with detections of image 'b'"):
        collect_pairs([annotation], [detections])
    with pytest.raises(ValueError, match='1 annotations but 0 detections'):
        collect_pairs([annotation], [])
    pairs = collect_pairs([], [])
    with pytest.raises(ValueError, match=r'iou_thr is 0\.3'):
        match_crowd(pairs, 0.3)
    with pytest.raises(ValueError, match=r"image 'a': box 0 is \[0\.0, nan"):
        CrowdAnnotation.create('a', [[0, float('nan'), 1, 1]])
    with pytest.raises(ValueError, match=r'scores\[0\] is inf'):
        CrowdDetections.create('a', [[0, 0, 1, 1]], [float('inf')], **SIZE)
    with pytest.raises(ValueError, match=r'scores have shape \(2,\)'):
        CrowdDetections.create('a', [[0, 0, 1, 1]], [0.5, 0.5], **SIZE)
    with pytest.raises(ValueError, match='height x width is 0 x 5'):
        CrowdDetections.create('a', [], [], 0, 5)
    with pytest.raises(ValueError, match=r'ignored has shape \(1,\)'):
        CrowdAnnotation.create('a', [], [True])


def test_clipping_as_crowdhuman_does():
    boxes = [[-5, -5, 10, 10], [50, 50, 60, 60], [-9, -9, -2, -2], [30, 20, 99, 99]]
    expected = [[0, 0, 10, 10], [39, 29, 40, 30], [0, 0, 0, 0], [30, 20, 40, 30]]
    assert clip_boxes(np.array(boxes, float), (40, 30)).tolist() == expected
    assert clip_boxes(np.array(boxes, float), np.array([(40, 30)] * 4)).tolist() == expected
