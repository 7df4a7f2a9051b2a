"""Tracks, lines and zones on scenes with known results."""

import json

import numpy as np
import pytest

pytest.importorskip('trackers')  # of the extra `predict`

from media import write_video
from stub_detector import StubDetector

from mmdet_lla.inference import Predictor
from mmdet_lla.inference.run import plan_run, predict_files
from mmdet_lla.inference.tracking import Counters, Tracker
from mmdet_lla.inference.video import VideoReader
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


def test_people_keep_their_track():
    tracker = Tracker(threshold=0.4, rate=10)
    paths: dict[int, list] = {}
    for found in walk():
        tracked = tracker.update(found)
        assert len(tracked) == 3  # also the hidden one, which has a track
        for track_id, box in zip(tracked.ids.tolist(), tracked.boxes, strict=True):
            paths.setdefault(track_id, []).append(box[0])
    paths.pop(-1)  # detections without a track yet
    assert len(paths) == 3 and all(len(path) >= 28 for path in paths.values())
    for path in paths.values():
        assert np.ptp(np.diff(path)) < 0.01


def test_low_scores_start_no_track():
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


def test_times_decide_how_long_a_track_lives_without_detections():
    """After a pause of a second in time, however many frames it took."""
    for times, kept in (((0, 0.1, 0.2, 0.7), True), ((0, 0.1, 0.2, 5.2), False)):
        tracker = Tracker(threshold=0.4, rate=10)
        for now in times[:3]:
            before = tracker.update(scene((50, 50, 0.9)), now)
        after = tracker.update(scene((50, 50, 0.9)), times[3])
        assert before.ids[0] >= 0 and (after.ids[0] == before.ids[0]) == kept


def test_video_with_tracks_and_counts(tmp_path):
    predictor = Predictor(StubDetector())
    write_video(tmp_path / 'still.avi', 6)
    plan = plan_run(
        [str(tmp_path / 'still.avi')],
        tmp_path / 'out',
        track=True,
        lines=[(80, 0, 80, 119)],
        zones=[(0, 0, 160, 0, 160, 120, 0, 120)],
    )
    summary = predict_files(predictor, plan, progress=False)
    records = [json.loads(x) for x in (tmp_path / 'out/detections.jsonl').read_text().splitlines()]
    ids = [[one['id'] for one in record['detections']] for record in records]
    assert ids == [[-1], *[[0]] * 5]  # nothing moves
    assert list(summary.counts.values()) == [
        {'line 1': {'in': 0, 'out': 0}, 'zone 1': {'now': 1, 'visitors': 1}}
    ]
    assert VideoReader(str(tmp_path / 'out' / 'still.mp4')).count == 6
