"""What is written into pictures can be read."""

import numpy as np
import pytest

pytest.importorskip('supervision')  # of the extra `predict`

from mmdet_lla.inference.drawing import Artist
from mmdet_lla.runtime import Detections


def people(*boxes, ids=None) -> Detections:
    """Best first."""
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.zeros(len(boxes), np.int64),
        ('person',),
        480,
        640,
        ids,
    )


def labels_of(artist: Artist, found: Detections, size=(480, 640)) -> list[str]:
    """What is written at boxes, and nothing else is."""
    written: list[str] = []

    class Recorder:
        def annotate(self, image, detections, words):
            assert len(detections) == len(words)
            written.extend(words)
            return image

    artist.labels = Recorder()
    image = np.full((*size, 3), 90, np.uint8)
    drawn = artist.draw(image, found)
    assert (image == 90).all() and (drawn != 90).any()
    return written


def test_labels_neither_hide_each_other_nor_stand_out_of_narrow_boxes():
    first, behind, beside = (50, 100, 110, 250), (56, 104, 116, 250), (200, 100, 260, 250)
    narrow = (400, 100, 412, 140)
    assert labels_of(Artist((640, 480)), people(first, behind, beside, narrow)) == ['0.90', '0.63']
    assert labels_of(Artist((640, 480)), people()) == []
    ids = np.array([7, -1, 8, 9])
    tracked = people(first, beside, behind, narrow, ids=ids)
    assert labels_of(Artist((640, 480), tracked=True), tracked) == ['7', '9']


@pytest.mark.parametrize('size', [(180, 240), (480, 640), (1500, 2000)])
def test_lines_stand_below_each_other(size):
    """From one left edge, none over another, all within the picture."""
    lines = ('line 1: 1 in, 12 out', 'zone 1: 3 now, 40 visitors')
    image = np.full((*size, 3), 90, np.uint8)
    drawn = Artist(size[::-1]).draw(image, people(), lines)
    touched = (drawn != 90).any(-1)
    rows = touched.any(1)
    assert rows.sum() < size[0] / 2
    assert not touched[:, -2:].any()
    lefts = touched[rows].argmax(1)
    assert lefts.min() == lefts.max() > 0
    rights = touched[rows, ::-1].argmax(1)
    assert len(np.unique(rights)) == 3  # a line each, as long as it is
