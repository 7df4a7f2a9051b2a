"""Pictures say what happened: colours and counts are those of the boxes."""

import numpy as np

from mmdet_lla.analysis.drawing import (
    BAR,
    FALSE_ALARM,
    HIT,
    IGNORED,
    MISS,
    WHITE,
    best_threshold,
    box_colors,
    draw_assignment,
    draw_detections,
    in_rows,
    match_detections,
)

IMAGE = np.zeros((100, 120, 3), dtype=np.uint8)
PEOPLE = np.array([[10.0, 10.0, 30.0, 60.0], [60.0, 10.0, 80.0, 60.0]])


def has(image: np.ndarray, color: tuple) -> bool:
    """Whether the colour, or what smoothing left of it, stands below the title bar."""
    return bool((np.abs(image[BAR:].astype(int) - color).sum(-1) < 90).any())


def test_every_person_is_found_once():
    detections = np.array(
        [[10.0, 10.0, 30.0, 60.0], [11.0, 11.0, 31.0, 61.0], [90.0, 70.0, 99.0, 99.0]]
    )
    assert match_detections(PEOPLE, detections).tolist() == [0, -1, -1]
    assert match_detections(PEOPLE[:0], detections).tolist() == [-1, -1, -1]
    assert match_detections(PEOPLE, detections[:0]).tolist() == []


def test_the_threshold_balances_misses_and_false_alarms():
    far = np.array([[90.0, 70.0, 110.0, 95.0]])
    hit_far = np.concatenate([PEOPLE[:1], far])
    pictures = [(PEOPLE[:1], hit_far, np.array(scores)) for scores in ([0.9, 0.2], [0.6, 0.7])]
    assert best_threshold(pictures) == 0.6
    assert best_threshold([(PEOPLE, np.zeros((0, 4)), np.zeros(0))]) == 0


def test_hits_misses_and_false_alarms_have_their_colours():
    none = np.zeros((0, 4))
    hit, far = PEOPLE[:1], np.array([[90.0, 70.0, 110.0, 95.0]])
    right = slice(126, None)
    drawn = draw_detections(IMAGE, PEOPLE[:1], none, hit, np.array([0.9]), 0.3)
    assert has(drawn[:, right], HIT) and not has(drawn[:, right], MISS)
    both = np.concatenate([hit, far])
    drawn = draw_detections(IMAGE, PEOPLE, none, both, np.array([0.9, 0.8]), 0.3)
    assert all(has(drawn[:, right], color) for color in (HIT, MISS, FALSE_ALARM))
    drawn = draw_detections(IMAGE, PEOPLE, none, far, np.array([0.1]), score_thr=0.3)
    assert not has(drawn[:, right], FALSE_ALARM)


def test_a_detection_in_an_ignore_region_is_no_false_alarm():
    region = np.array([[85.0, 60.0, 115.0, 99.0]])
    drawn = draw_detections(
        IMAGE, PEOPLE[:0], region, np.array([[90.0, 70.0, 110.0, 95.0]]), np.array([0.9]), 0.3
    )
    assert not has(drawn, FALSE_ALARM) and has(drawn[:, 126:], IGNORED)


POINTS = np.array([[20.0, 30.0], [70.0, 30.0], [100.0, 90.0], [50.0, 90.0]])
LEVELS = np.array([0, 1, 2, 0])
INSIDE = slice(BAR, BAR + len(IMAGE))  # between title and legend


def test_priors_are_drawn_in_their_persons_colour_and_outside_ones_rimmed():
    drawn = draw_assignment(IMAGE, PEOPLE, POINTS, LEVELS, np.array([1, 2, 2, 0]))
    first, second = box_colors(2)
    assert tuple(drawn[BAR + 30, 20]) == first and tuple(drawn[BAR + 30, 70]) == second
    outside = drawn[: BAR + 100]
    assert has(outside[:, 90:], WHITE) and not has(outside[:, :85], WHITE)
    assert tuple(drawn[BAR + 75, 90]) != (0, 0, 0)  # on the line to its box
    assert tuple(drawn[BAR + 90, 50]) == (0, 0, 0)  # background is left alone
    drawn = draw_assignment(IMAGE, PEOPLE, POINTS, LEVELS, np.array([1, 0, 0, -1]))
    assert tuple(drawn[BAR + 90, 50]) == IGNORED


def test_contested_priors_have_a_core_in_the_colour_of_who_else_wanted_them():
    first, second = box_colors(2)
    wanted = np.array([[1, 1, 0, 1], [1, 0, 0, 1]], dtype=bool)
    drawn = draw_assignment(IMAGE, PEOPLE, POINTS, LEVELS, np.array([1, 1, 0, 0]), 3, wanted=wanted)
    assert tuple(drawn[BAR + 30, 20]) == second
    assert tuple(drawn[BAR + 30, 70]) == first  # nobody else wanted it
    assert tuple(drawn[BAR + 90, 50]) == (0, 0, 0)  # nobody got it


def test_boxes_left_with_none_are_crossed_out():
    drawn = draw_assignment(IMAGE, PEOPLE, POINTS, LEVELS, np.array([1, 0, 0, 0]))
    crossing = (slice(BAR + 33, BAR + 38), slice(68, 73))  # the middle of the second box
    assert has(np.pad(drawn[crossing], ((BAR, 0), (0, 0), (0, 0))), MISS)
    drawn = draw_assignment(IMAGE, PEOPLE, POINTS, LEVELS, np.array([1, 2, 0, 0]))
    assert not has(np.pad(drawn[crossing], ((BAR, 0), (0, 0), (0, 0))), MISS)


def test_a_picture_without_people_or_levels_is_drawn():
    nobody = draw_assignment(
        IMAGE,
        PEOPLE[:0],
        POINTS,
        LEVELS,
        np.zeros(4, dtype=int),
        wanted=np.zeros((0, 4), dtype=bool),
    )
    assert not has(nobody[INSIDE], WHITE) and nobody.shape[1:] == IMAGE.shape[1:]
    unknown = draw_assignment(IMAGE, PEOPLE, POINTS, LEVELS * 0 - 1, np.array([1, 2, 0, 0]))
    assert tuple(unknown[BAR + 30, 20]) == box_colors(2)[0]


def test_panels_stand_in_rows_that_fit_a_screen():
    wide, high = np.zeros((100, 300, 3), np.uint8), np.zeros((300, 100, 3), np.uint8)
    assert in_rows([wide] * 2).shape == (206, 300, 3)
    assert in_rows([high] * 3).shape == (300, 312, 3)
    assert in_rows([wide] * 3, columns=2).shape == (206, 606, 3)
    assert in_rows([wide, wide[:40]], columns=2).shape == (100, 606, 3)


def test_neighbouring_colours_differ():
    colors = np.array(box_colors(40), dtype=float)
    assert np.abs(colors[1:] - colors[:-1]).sum(1).min() > 100
