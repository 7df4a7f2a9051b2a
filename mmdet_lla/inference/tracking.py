"""Identities over a video, and counts at lines and in zones, by supervision and trackers.

Needs the extra ``predict``. supervision has no tracker of its own any more (it went with 0.29);
``trackers``, of the same authors, took them over. Lines and zones do without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import supervision as sv

from ..runtime import Detections

#: ByteTrack goes on with people whose score has sunk as far below the threshold as this, by factor.
WEAK = 0.8
_COLORS = sv.ColorPalette.from_hex(['#ffcc00', '#00c2ff', '#ff5ca8', '#7ee081'])


class Tracker:
    """ByteTrack: who is who from frame to frame.

    Args:
        threshold (float): Score from which a person is followed.
        rate (float): Frames a second.
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

    def update(self, found: Detections) -> Detections:
        """The same with ``ids``, of the next frame.

        Args:
            found (Detections): Also those with scores down to ``WEAK`` times the threshold.

        Returns:
            Detections: Those that are followed (``ids`` from 0), and those above the threshold
            that are not yet (-1); best first.
        """
        tracked = self.tracker.update(_plain(found))
        places, ids = tracked.data.get('place', np.zeros(0, int)), tracked.tracker_id
        all_ids = np.full(len(found), -1, np.int64)
        all_ids[places.astype(int)] = ids
        kept = (all_ids >= 0) | (found.scores >= self.threshold)
        return Detections(
            found.boxes,
            found.scores,
            found.labels,
            found.classes,
            found.height,
            found.width,
            all_ids,
        ).select(kept)


def _plain(found: Detections) -> sv.Detections:
    """For the tracker, which gives detections back in another order, with their places."""
    detections = found.to_supervision()
    detections.data['place'] = np.arange(len(found))
    return detections


@dataclass
class Counters:
    """Lines that people cross and zones that they are in, by where their feet are.

    Args:
        lines (Sequence[Sequence[float]]): Each ``x1, y1, x2, y2`` in pixels. Seen from the first
            point to the second, people go 'in' from right to left.
        zones (Sequence[Sequence[float]]): Each ``x1, y1, x2, y2, x3, y3, ...``.

    Raises:
        ValueError: One has too few numbers, or an odd number of them.
    """

    lines: Sequence[Sequence[float]] = ()
    zones: Sequence[Sequence[float]] = ()
    _lines: list = field(init=False, repr=False)
    _zones: list = field(init=False, repr=False)
    _visitors: list = field(init=False, repr=False)

    def __post_init__(self) -> None:
        feet = (sv.Position.BOTTOM_CENTER,)
        for line in self.lines:
            if len(line) != 4:
                raise ValueError(f'a line is x1,y1,x2,y2, got {len(line)} numbers: {list(line)}')
        for zone in self.zones:
            if len(zone) < 6 or len(zone) % 2:
                raise ValueError(
                    f'a zone is x1,y1,x2,y2,x3,y3,..., got {len(zone)} numbers: {list(zone)}'
                )
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
        """Count the people of the next frame; lines need identities."""
        detections = found.to_supervision()
        if found.ids is not None:
            for line in self._lines:
                line.trigger(detections)
        for zone, visitors in zip(self._zones, self._visitors, strict=True):
            inside = zone.trigger(detections)
            if found.ids is not None:
                visitors.update(found.ids[inside & (found.ids >= 0)].tolist())

    def counts(self) -> dict[str, dict[str, int]]:
        """In and out of every line; of every zone how many are in it and how many ever were."""
        counts = {
            f'line {i + 1}': {'in': line.in_count, 'out': line.out_count}
            for i, line in enumerate(self._lines)
        }
        for i, (zone, visitors) in enumerate(zip(self._zones, self._visitors, strict=True)):
            counts[f'zone {i + 1}'] = {'now': int(zone.current_count), 'visitors': len(visitors)}
        return counts

    def texts(self) -> tuple[str, ...]:
        """The counts as lines to write into a frame."""
        return tuple(
            f'{name}: ' + ', '.join(f'{number} {what}' for what, number in numbers.items())
            for name, numbers in self.counts().items()
        )

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Lines and zones, into the picture."""
        thickness = sv.calculate_optimal_line_thickness(image.shape[1::-1])
        for i, line in enumerate(self._lines):
            start, end = line.vector.start, line.vector.end
            image = sv.draw_line(image, start, end, _COLORS.by_idx(i), thickness)
        for i, zone in enumerate(self._zones):
            color = _COLORS.by_idx(len(self._lines) + i)
            image = sv.draw_filled_polygon(image, zone.polygon, color, opacity=0.15)
            image = sv.draw_polygon(image, zone.polygon, color, thickness)
        return image
