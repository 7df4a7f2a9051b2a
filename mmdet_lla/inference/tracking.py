"""Tracks people through a video and counts them at lines and in zones.

Needs the extra ``predict``: supervision, and for tracking also its successor for that, trackers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import supervision as sv

from ..runtime import Detections
from .sources import check_coordinates

#: ByteTrack continues tracks with detections down to this fraction of the score threshold.
LOW_SCORE_FRACTION = 0.8
_COLORS = sv.ColorPalette.from_hex(['#ffcc00', '#00c2ff', '#ff5ca8', '#7ee081'])


class Tracker:
    """Assigns track IDs with ByteTrack.

    Args:
        threshold (float): Score from which a detection starts a track.
        rate (float): Nominal frames per second; the times of the frames decide where given.

    Example::

        tracker = Tracker(threshold=0.4, rate=25)
        for result in predictor.stream(frames, 0.4 * LOW_SCORE_FRACTION):
            tracked = tracker.update(result.detections, result.frame.time)
    """

    def __init__(self, threshold: float, rate: float) -> None:
        from trackers import ByteTrackTracker

        self.threshold = threshold
        self.tracker = ByteTrackTracker(
            frame_rate=rate,
            track_activation_threshold=threshold,
            high_conf_det_threshold=threshold,
            minimum_consecutive_frames=2,
        )

    def update(self, found: Detections, time: float | None = None) -> Detections:
        """Return the detections of the next frame with ``ids``.

        Args:
            found (Detections): Down to ``LOW_SCORE_FRACTION`` times the threshold.
            time (float, optional): Time of the frame in seconds. Defaults to a constant rate.

        Returns:
            Detections: The tracked ones (``ids`` from 0), and those above the threshold that have
            no track yet (-1), in descending order of score.
        """
        detections = found.to_supervision()
        detections.data['index'] = np.arange(len(found))  # the tracker changes the order
        tracked = self.tracker.update(detections, timestamp=time)
        indices, ids = tracked.data.get('index', np.zeros(0, int)), tracked.tracker_id
        all_ids = np.full(len(found), -1, np.int64)
        all_ids[indices.astype(int)] = ids
        kept = (all_ids >= 0) | (found.scores >= self.threshold)
        return replace(found, ids=all_ids).select(kept)


@dataclass
class Counters:
    """Counts people that cross lines or stand in zones, by the bottom center of their boxes.

    Args:
        lines (Sequence[Sequence[float]]): Each ``x1, y1, x2, y2`` in pixels. Seen from the first
            point to the second, 'in' is from right to left.
        zones (Sequence[Sequence[float]]): Each ``x1, y1, x2, y2, x3, y3, ...``.

    Raises:
        ValueError: A line or zone has a wrong number of coordinates.

    Example:
        >>> Counters(zones=[(0, 0, 100, 0, 100, 50)]).counts()
        {'zone 1': {'now': 0, 'visitors': 0}}
    """

    lines: Sequence[Sequence[float]] = ()
    zones: Sequence[Sequence[float]] = ()
    _lines: list = field(init=False, repr=False)
    _zones: list = field(init=False, repr=False)
    _visitors: list = field(init=False, repr=False)

    def __post_init__(self) -> None:
        feet = (sv.Position.BOTTOM_CENTER,)
        check_coordinates(self.lines, self.zones)
        self._lines = [
            sv.LineZone(sv.Point(*line[:2]), sv.Point(*line[2:]), triggering_anchors=feet)
            for line in self.lines
        ]
        self._zones = [
            sv.PolygonZone(np.array(zone).reshape(-1, 2).round().astype(int), feet)
            for zone in self.zones
        ]
        self._visitors = [set() for _ in self.zones]

    def update(self, found: Detections) -> None:
        """Count the people of the next frame; lines need track IDs."""
        detections = found.to_supervision()
        if found.ids is not None:
            for line in self._lines:
                line.trigger(detections)
        for zone, visitors in zip(self._zones, self._visitors, strict=True):
            inside = zone.trigger(detections)
            if found.ids is not None:
                visitors.update(found.ids[inside & (found.ids >= 0)].tolist())

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the crossings of each line, and the present and past number of people per zone."""
        counts = {
            f'line {i + 1}': {'in': line.in_count, 'out': line.out_count}
            for i, line in enumerate(self._lines)
        }
        for i, (zone, visitors) in enumerate(zip(self._zones, self._visitors, strict=True)):
            counts[f'zone {i + 1}'] = {'now': int(zone.current_count), 'visitors': len(visitors)}
        return counts

    def texts(self) -> tuple[str, ...]:
        """Return the counts as lines of text."""
        return tuple(
            f'{name}: ' + ', '.join(f'{number} {what}' for what, number in numbers.items())
            for name, numbers in self.counts().items()
        )

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw lines and zones into the image."""
        thickness = sv.calculate_optimal_line_thickness(image.shape[1::-1])
        for i, line in enumerate(self._lines):
            start, end = line.vector.start, line.vector.end
            image = sv.draw_line(image, start, end, _COLORS.by_idx(i), thickness)
        for i, zone in enumerate(self._zones):
            color = _COLORS.by_idx(len(self._lines) + i)
            image = sv.draw_filled_polygon(image, zone.polygon, color, opacity=0.15)
            image = sv.draw_polygon(image, zone.polygon, color, thickness)
        return image
