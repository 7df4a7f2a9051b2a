"""Colors and counts in drawings match the boxes."""

import numpy as np
import pytest

from mmdet_lla.analysis.drawing import (
    BAR_HEIGHT,
    FN_COLOR,
    FP_COLOR,
    IGNORED_COLOR,
    TP_COLOR,
    WHITE,
    arrange_in_rows,
    draw_assignment,
    draw_detections,
    get_box_colors,
)
from mmdet_lla.evaluation.annotations import CrowdAnnotation, CrowdDetections

IMAGE = np.zeros((100, 120, 3), dtype=np.uint8)
GTS = np.array([[10.0, 10.0, 30.0, 60.0], [60.0, 10.0, 80.0, 60.0]])
FAR, REGION = [90.0, 70.0, 110.0, 95.0], [85.0, 60.0, 115.0, 99.0]
FIRST, SECOND = get_box_colors(2)
POINTS = np.array([[20.0, 30.0], [70.0, 30.0], [100.0, 90.0], [50.0, 90.0]])
LEVELS = np.array([0, 1, 2, 0])


def has(image: np.ndarray, color: tuple) -> bool:
    """Return whether a color, possibly smoothed, is in an image."""
    return bool((np.abs(image.astype(int) - color).sum(-1) < 90).any())


@pytest.mark.parametrize(
    ('gts', 'regions', 'boxes', 'shown'),
    [
        (GTS[:1], [], GTS[:1], {TP_COLOR}),
        (GTS, [], [GTS[0], FAR], {TP_COLOR, FN_COLOR, FP_COLOR}),
        (GTS[:1], [], [], {FN_COLOR}),
        (GTS[:0], [REGION], [FAR], {IGNORED_COLOR}),
    ],
)
def test_detections_have_the_color_of_their_label(gts, regions, boxes, shown):
    boxes_and_regions = [*gts, *regions]
    ignored = [False] * len(gts) + [True] * len(regions)
    annotation = CrowdAnnotation.create('a', boxes_and_regions, ignored)
    # the last detection is below the threshold
    scores = [0.9] * len(boxes) + [0.1]
    detections = CrowdDetections.create('a', [*boxes, [40, 70, 60, 95]], scores, *IMAGE.shape[:2])
    drawn = draw_detections(IMAGE, annotation, detections, score_thr=0.3)
    right = drawn[BAR_HEIGHT:, IMAGE.shape[1] + 6 :]
    colors = (TP_COLOR, FP_COLOR, FN_COLOR, IGNORED_COLOR)
    assert {color for color in colors if has(right, color)} == shown


def draw(gt_inds, gts=GTS, levels=LEVELS, **options):
    """The drawing without title and legend."""
    drawn = draw_assignment(IMAGE, gts, POINTS, levels, np.array(gt_inds), **options)
    assert drawn.shape[1:] == IMAGE.shape[1:]
    return drawn[BAR_HEIGHT : BAR_HEIGHT + len(IMAGE)]


def test_priors_have_the_color_of_their_gt_and_a_rim_outside_it():
    drawn = draw([1, 2, 2, 0])
    assert tuple(drawn[30, 20]) == FIRST and tuple(drawn[30, 70]) == SECOND
    assert has(drawn[:, 90:], WHITE) and not has(drawn[:, :85], WHITE)
    assert tuple(drawn[75, 90]) != (0, 0, 0)  # on the line to its gt
    assert tuple(drawn[90, 50]) == (0, 0, 0)  # background
    assert tuple(draw([1, 0, 0, -1])[90, 50]) == IGNORED_COLOR
    assert tuple(draw([1, 2, 0, 0], levels=LEVELS * 0 - 1)[30, 20]) == FIRST


def test_contested_priors_have_a_core_in_the_color_of_the_other_gt():
    candidates = np.array([[1, 1, 0, 1], [1, 0, 0, 1]], dtype=bool)
    drawn = draw([1, 1, 0, 0], dot=3, candidates=candidates)
    assert tuple(drawn[30, 20]) == SECOND
    assert tuple(drawn[30, 70]) == FIRST  # a candidate of one gt only
    assert tuple(drawn[90, 50]) == (0, 0, 0)  # background


@pytest.mark.parametrize(('gt_inds', 'crossed'), [([1, 0, 0, 0], True), ([1, 2, 0, 0], False)])
def test_gts_without_prior_are_crossed_out(gt_inds, crossed):
    assert has(draw(gt_inds)[33:38, 68:73], FN_COLOR) == crossed


def test_an_image_without_gts():
    drawn = draw([0] * 4, gts=GTS[:0], candidates=np.zeros((0, 4), dtype=bool))
    assert not has(drawn, WHITE)


@pytest.mark.parametrize(
    ('sizes', 'columns', 'shape'),
    [
        ([(100, 300)] * 2, 0, (206, 300)),
        ([(300, 100)] * 3, 0, (300, 312)),
        ([(100, 300)] * 3, 2, (206, 606)),
        ([(100, 300), (40, 300)], 2, (100, 606)),
    ],
)
def test_images_in_rows(sizes, columns, shape):
    images = [np.zeros((*size, 3), np.uint8) for size in sizes]
    assert arrange_in_rows(images, columns=columns).shape[:2] == shape
