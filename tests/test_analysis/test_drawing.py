"""Pictures say what happened: colours and counts are those of the boxes."""

import numpy as np

from mmdet_lla.analysis.drawing import (
    BAR,
    FALSE_ALARM,
    HIT,
    IGNORED,
    MISS,
    best_threshold,
    box_colors,
    draw_assignment,
    draw_detections,
    match_detections,
)

IMAGE = np.zeros((100, 120, 3), dtype=np.uint8)
PEOPLE = np.array([[10., 10., 30., 60.], [60., 10., 80., 60.]])


def has(image: np.ndarray, color: tuple) -> bool:
    """Whether the colour, or what smoothing left of it, stands below the title bar."""
    return bool((np.abs(image[BAR:].astype(int) - color).sum(-1) < 90).any())


def test_every_person_is_found_once():
    detections = np.array([[10., 10., 30., 60.], [11., 11., 31., 61.], [90., 70., 99., 99.]])
    assert match_detections(PEOPLE, detections).tolist() == [0, -1, -1]
    assert match_detections(PEOPLE[:0], detections).tolist() == [-1, -1, -1]
    assert match_detections(PEOPLE, detections[:0]).tolist() == []


def test_the_threshold_balances_misses_and_false_alarms():
    far = np.array([[90., 70., 110., 95.]])
    hit_far = np.concatenate([PEOPLE[:1], far])
    pictures = [(PEOPLE[:1], hit_far, np.array(scores)) for scores in ([.9, .2], [.6, .7])]
    assert best_threshold(pictures) == 0.6
    assert best_threshold([(PEOPLE, np.zeros((0, 4)), np.zeros(0))]) == 0


def test_hits_misses_and_false_alarms_have_their_colours():
    none = np.zeros((0, 4))
    hit, far = PEOPLE[:1], np.array([[90., 70., 110., 95.]])
    right = slice(126, None)
    drawn = draw_detections(IMAGE, PEOPLE[:1], none, hit, np.array([0.9]), 0.3)
    assert has(drawn[:, right], HIT) and not has(drawn[:, right], MISS)
    both = np.concatenate([hit, far])
    drawn = draw_detections(IMAGE, PEOPLE, none, both, np.array([.9, .8]), 0.3)
    assert all(has(drawn[:, right], color) for color in (HIT, MISS, FALSE_ALARM))
    drawn = draw_detections(IMAGE, PEOPLE, none, far, np.array([0.1]), score_thr=0.3)
    assert not has(drawn[:, right], FALSE_ALARM)


def test_a_detection_in_an_ignore_region_is_no_false_alarm():
    region = np.array([[85., 60., 115., 99.]])
    drawn = draw_detections(IMAGE, PEOPLE[:0], region, np.array([[90., 70., 110., 95.]]),
                            np.array([0.9]), 0.3)
    assert not has(drawn, FALSE_ALARM) and has(drawn[:, 126:], IGNORED)


def test_priors_are_drawn_in_their_persons_colour_and_outside_ones_rimmed():
    points = np.array([[20., 30.], [70., 30.], [100., 90.], [50., 90.]])
    levels = np.array([0, 1, 2, 0])
    drawn = draw_assignment(IMAGE, PEOPLE, points, levels, np.array([1, 2, 2, 0]))
    first, second = box_colors(2)
    assert tuple(drawn[BAR + 30, 20]) == first and tuple(drawn[BAR + 30, 70]) == second
    assert has(drawn[:, 90:], (255, 255, 255))  # the one outside its box
    assert not has(drawn[:, :85], (255, 255, 255))
    assert tuple(drawn[BAR + 90, 50]) == (0, 0, 0)  # background is left alone
    drawn = draw_assignment(IMAGE, PEOPLE, points, levels, np.array([1, 0, 0, -1]))
    assert tuple(drawn[BAR + 90, 50]) == IGNORED


def test_neighbouring_colours_differ():
    colors = np.array(box_colors(40), dtype=float)
    assert np.abs(colors[1:] - colors[:-1]).sum(1).min() > 100
