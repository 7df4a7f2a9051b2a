"""Texts in drawn images are readable."""

import numpy as np
import pytest

from mmdet_lla.inference.annotators import COLORS, DetectionAnnotator, count_text
from mmdet_lla.runtime import Detections


def make_detections(*boxes, ids=None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.zeros(len(boxes), np.int64),
        ('person',),
        480,
        640,
        None if ids is None else np.array(ids),
    )


def draw(annotator: DetectionAnnotator, found: Detections, monkeypatch) -> tuple[np.ndarray, list]:
    """The drawn image, and the texts at boxes."""
    texts: list[str] = []
    draw_label = annotator._draw_label

    def record(image, text, *args):
        texts.append(text)
        draw_label(image, text, *args)

    monkeypatch.setattr(annotator, '_draw_label', record)
    image = np.full((480, 640, 3), 90, np.uint8)
    drawn = annotator.draw(image, found)
    assert (image == 90).all() and (drawn != 90).any()
    return drawn, texts


FIRST, BEHIND, BESIDE = (50, 100, 110, 250), (56, 104, 116, 250), (200, 100, 260, 250)
NARROW = (400, 100, 412, 140)


@pytest.mark.parametrize(
    'boxes, ids, texts, count',
    [
        ((FIRST, BEHIND, BESIDE, NARROW), None, ['0.90', '0.63'], '4 people'),
        ((), None, [], '0 people'),
        ((FIRST, BESIDE, BEHIND, NARROW), (7, -1, 8, 9), ['7', '9'], '3 people'),
        ((FIRST, BESIDE), (-1, 12), ['12'], '1 person'),
        ((FIRST, BESIDE), (-1, -1), [], '0 people'),
    ],
)
def test_labels_cover_no_other_and_fit_their_boxes(boxes, ids, texts, count, monkeypatch):
    annotator = DetectionAnnotator((640, 480), tracked=ids is not None)
    found = make_detections(*boxes, ids=ids)
    written = []
    draw_line = annotator._draw_line
    monkeypatch.setattr(
        annotator, '_draw_line', lambda *args: (written.append(args[1]), draw_line(*args))
    )
    assert draw(annotator, found, monkeypatch)[1] == texts
    assert written == [count]


def test_traces_follow_tracks_and_end_with_them(monkeypatch):
    annotator = DetectionAnnotator((640, 480), tracked=True, rate=10)
    for x in (100, 200, 300):
        found = make_detections((x, 100, x + 60, 250), ids=[3])
        drawn, _ = draw(annotator, found, monkeypatch)
    color = np.array(COLORS[3])
    assert (drawn[250, 130:331] == color).all() and not (drawn[250, :120] == color).all(1).any()
    draw(annotator, make_detections(ids=np.zeros(0, int)), monkeypatch)
    drawn, _ = draw(annotator, found, monkeypatch)
    assert not (drawn[250, 140:290] == color).all(1).any()


@pytest.mark.parametrize('size', [(180, 240), (480, 640), (1500, 2000)])
def test_lines_of_text_are_below_each_other(size):
    """With a common left edge, within the image."""
    lines = ('line 1: 1 in, 12 out', 'zone 1: 3 now, 40 visitors')
    image = np.full((*size, 3), 90, np.uint8)
    drawn = DetectionAnnotator(size[::-1]).draw(image, make_detections(), lines)
    touched = (drawn != 90).any(-1)
    rows = touched.any(1)
    assert rows.sum() < size[0] / 2 and not touched[:, -2:].any()
    lefts = touched[rows].argmax(1)
    assert lefts.min() == lefts.max() > 0
    assert len(np.unique(touched[rows, ::-1].argmax(1))) == 3  # a line each, as long as it is


def test_classes_are_counted():
    found = make_detections(FIRST, BESIDE, BEHIND)
    labels, classes = np.array([1, 0, 1]), ('person', 'bicycle')
    assert count_text(Detections(found.boxes, found.scores, labels, classes, 9, 9)) == (
        '2 bicycle, 1 person'
    )
