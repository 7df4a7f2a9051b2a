"""Identities, lines and zones on scenes whose answer is known."""

import json

import numpy as np
import pytest

pytest.importorskip('trackers')  # of the extra `predict`

import cv2

from mmdet_lla.inference import Predictor
from mmdet_lla.inference.run import predict_files
from mmdet_lla.inference.tracking import Counters, Tracker
from mmdet_lla.runtime import Detections


def scene(*people) -> Detections:
    """People as (left, top, score), 20 x 50 pixels large, best first."""
    people = sorted(people, key=lambda person: -person[2])
    boxes = [(x, y, x + 20, y + 50) for x, y, _ in people]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for *_, score in people], np.float32),
        np.zeros(len(people), np.int64),
        ('person',),
        240,
        320,
    )


def walk(steps: int = 30):
    """One goes right, one left, and they pass each other; one is hidden for a while."""
    for i in range(steps):
        hidden = 0.35 if 8 <= i < 14 else 0.8
        yield scene((20 + 8 * i, 50, 0.9), (280 - 8 * i, 110, hidden), (100, 180, 0.45))


def test_people_keep_their_identity():
    tracker = Tracker(threshold=0.4, rate=10)
    paths: dict[int, list] = {}
    for found in walk():
        tracked = tracker.update(found)
        assert len(tracked) == 3  # the hidden one, too, for it is followed
        for identity, box in zip(tracked.ids.tolist(), tracked.boxes, strict=True):
            paths.setdefault(identity, []).append(box[0])
    paths.pop(-1)  # nobody is known at first
    assert len(paths) == 3 and all(len(path) >= 28 for path in paths.values())
    for path in paths.values():
        assert np.ptp(np.diff(path)) < 0.01


def test_weak_detections_begin_nobody():
    tracker = Tracker(threshold=0.4, rate=10)
    for _ in range(5):
        assert not len(tracker.update(scene((50, 50, 0.35))))
    assert not len(tracker.update(scene()))


def test_line_and_zone_count_by_feet():
    """One each way over the line; whose head alone crosses it does not count."""
    tracker = Tracker(threshold=0.4, rate=10)
    counters = Counters(
        lines=[(160, 239, 160, 0), (0, 30, 319, 30)],
        zones=[(0, 0, 320, 0, 320, 130, 0, 130)],
    )
    for found in walk():
        counters.update(tracker.update(found))
    counts = counters.counts()
    assert counts['line 1'] == dict(zip(('in', 'out'), (1, 1), strict=True))
    assert counts['line 2'] == {'in': 0, 'out': 0}
    assert counts['zone 1'] == {'now': 1, 'visitors': 1}
    assert counters.texts()[2] == 'zone 1: 1 now, 1 visitors'


def test_from_right_to_left_is_in():
    """As seen from the line's first point to its second."""
    tracker, counters = Tracker(0.4, 10), Counters(lines=[(160, 239, 160, 0)])
    for i in range(25):
        counters.update(tracker.update(scene((20 + 10 * i, 50, 0.9))))
    assert counters.counts() == {'line 1': {'in': 0, 'out': 1}}


@pytest.mark.parametrize(
    'options, words',
    [(dict(lines=[(1, 2, 3)]), 'a line is'), (dict(zones=[(1, 2, 3, 4, 5)]), 'a zone is')],
)
def test_what_is_no_line_or_zone(options, words):
    with pytest.raises(ValueError, match=words):
        Counters(**options)


def test_video_with_identities_and_counts(folder, tmp_path):
    sink = cv2.VideoWriter(
        str(tmp_path / 'still.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120)
    )
    image = cv2.imread(str(sorted((folder / 'crowd' / 'Images').glob('*.jpg'))[0]))
    for _ in range(6):
        sink.write(image)
    sink.release()
    predictor = Predictor(folder / 'config.py', folder / 'weights.pth', threshold=0.3)
    summary = predict_files(
        predictor,
        [str(tmp_path / 'still.avi')],
        tmp_path / 'out',
        track=True,
        lines=[(80, 0, 80, 119)],
        zones=[(0, 0, 160, 0, 160, 120, 0, 120)],
        progress=False,
    )
    (counts,) = summary.counts.values()
    records = [json.loads(x) for x in (tmp_path / 'out/detections.jsonl').read_text().splitlines()]
    ids = [{one['id'] for one in record['detections']} for record in records]
    assert ids[-1] - {-1} and ids[-1] == ids[-2]  # nothing moves
    assert counts['line 1'] == {'in': 0, 'out': 0}
    assert 0 < counts['zone 1']['visitors'] <= counts['zone 1']['now']
    assert (tmp_path / 'out' / 'still.mp4').stat().st_size > 1000
