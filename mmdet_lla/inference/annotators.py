"""Draws detections into images with OpenCV."""

from __future__ import annotations

from collections import Counter, defaultdict, deque

import cv2
import numpy as np

from ..runtime import Detections

#: Plurals of class names.
_PLURALS = {'person': 'people'}
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
#: BGR colors of classes or tracks.
COLORS = (
    *((0, 204, 255), (255, 194, 0), (140, 92, 255), (129, 224, 126), (60, 60, 230)),
    *((230, 110, 190), (40, 140, 255), (170, 170, 40), (90, 180, 250), (200, 200, 200)),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PADDING = 3
#: Length of a trace in seconds.
_TRACE = 1.0


class DetectionAnnotator:
    """Draws boxes, scores or track IDs, traces and counts.

    Args:
        size (tuple[int, int]): Width and height of the images, which decide line width and text
            size.
        tracked (bool): Whether colors follow track IDs and traces are drawn. Defaults to False.
        rate (float): Frames per second. Defaults to 25.

    Example:
        >>> found = Detections(
        ...     np.array([[10, 10, 60, 90]], np.float32),
        ...     np.array([0.9], np.float32),
        ...     np.array([0]),
        ...     ('person',),
        ...     100,
        ...     120,
        ... )
        >>> image = np.zeros((100, 120, 3), np.uint8)
        >>> bool(DetectionAnnotator((120, 100)).draw(image, found).any())
        True
    """

    def __init__(self, size: tuple[int, int], tracked: bool = False, rate: float = 25.0) -> None:
        self.tracked = tracked
        self.thickness = max(1, round(min(size) / 360))
        self.text_scale = min(max(min(size) / 1080, 0.4), 2.5)
        self.label_scale = max(0.6 * self.text_scale, 0.3)  # smaller text is unreadable
        self._traces: dict[int, deque] = defaultdict(
            lambda: deque(maxlen=max(3, round(_TRACE * rate)))
        )

    def draw(self, image: np.ndarray, found: Detections, lines: tuple[str, ...] = ()) -> np.ndarray:
        """Return a copy of an image with its detections drawn.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3).
            found (Detections): With tracking, those without a track are neither drawn nor counted.
            lines (tuple[str]): Further lines of text below the count.
        """
        drawn = image.copy()
        if self.tracked:
            found = found.select(found.ids >= 0)
            texts = [str(track_id) for track_id in found.ids]
            colors = [COLORS[track_id % len(COLORS)] for track_id in found.ids]
            self._draw_traces(drawn, found)
        else:
            texts = [f'{score:.2f}' for score in found.scores]
            colors = [COLORS[label % len(COLORS)] for label in found.labels]
        for box, color in zip(found.boxes.round().astype(int).tolist(), colors, strict=True):
            cv2.rectangle(drawn, box[:2], box[2:], color, self.thickness)
        for i in self._find_fitting(found.boxes, texts):
            x, y = found.boxes[i, :2].round().astype(int).tolist()
            self._draw_label(drawn, texts[i], (x, y), colors[i])
        for i, line in enumerate((count_text(found), *lines)):
            self._draw_line(drawn, line, i)
        return drawn

    def _draw_traces(self, image: np.ndarray, found: Detections) -> None:
        """Draw where the feet of each tracked person were in the last second."""
        current = set(found.ids.tolist())
        for track_id in [one for one in self._traces if one not in current]:
            del self._traces[track_id]
        for track_id, (x1, _, x2, y2) in zip(found.ids.tolist(), found.boxes, strict=True):
            trace = self._traces[track_id]
            trace.append(((x1 + x2) / 2, y2))
            points = np.array(trace).round().astype(np.int32)
            cv2.polylines(image, [points], False, COLORS[track_id % len(COLORS)], self.thickness)

    def _find_fitting(self, boxes: np.ndarray, texts: list[str]) -> np.ndarray:
        """Indices of the labels that are no wider than their boxes and cover no earlier label."""
        sizes = [cv2.getTextSize(text, _FONT, self.label_scale, 1)[0] for text in texts]
        extent = np.array(sizes, float).reshape(-1, 2) + 2 * _PADDING
        low = boxes[:, :2] - [0, 1] * extent
        high = low + extent
        narrow = extent[:, 0] <= boxes[:, 2] - boxes[:, 0]
        kept: list[int] = []
        for i in np.flatnonzero(narrow):
            apart = (low[i] >= high[kept]) | (high[i] <= low[kept])
            if apart.any(1).all():
                kept.append(i)
        return np.array(kept, int)

    def _draw_label(self, image: np.ndarray, text: str, corner, color) -> None:
        """Write text on a background of the color, above the upper left corner of a box."""
        x, y = corner
        (width, height), _ = cv2.getTextSize(text, _FONT, self.label_scale, 1)
        end = x + width + 2 * _PADDING, y - height - 2 * _PADDING
        cv2.rectangle(image, (x, y), end, color, cv2.FILLED)
        luma = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
        text_color = _BLACK if luma > 140 else _WHITE
        place = x + _PADDING, y - _PADDING
        cv2.putText(image, text, place, _FONT, self.label_scale, text_color, 1, cv2.LINE_AA)

    def _draw_line(self, image: np.ndarray, text: str, index: int) -> None:
        """Write a line of text into the upper left corner."""
        scale, thickness = self.text_scale, max(1, round(1.5 * self.text_scale))
        padding = round(6 * scale) + 1
        (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
        step = height + below + 2 * padding
        top = padding + index * (step + 1)
        start, end = (padding, top), (3 * padding + width, top + step - 1)
        cv2.rectangle(image, start, end, _BLACK, cv2.FILLED)
        place = 2 * padding, top + padding + height
        cv2.putText(image, text, place, _FONT, scale, _WHITE, thickness, cv2.LINE_AA)


def count_text(found: Detections) -> str:
    """Return the number of detections per class.

    Example:
        >>> empty = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)
        >>> count_text(Detections(*empty, ('person',), 48, 64))
        '0 people'
    """
    counts = Counter(found.names())
    if not counts:
        counts[found.classes[0]] = 0
    return ', '.join(
        f'{number} {name if number == 1 else _PLURALS.get(name, name)}'
        for name, number in counts.items()
    )
