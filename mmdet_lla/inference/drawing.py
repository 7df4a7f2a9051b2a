"""Detections drawn into pictures, by supervision; needs the extra ``predict``."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import supervision as sv

from ..runtime import Detections

#: What several of a class are called.
_MANY = {'person': 'people'}
_BLACK, _WHITE = sv.Color(0, 0, 0), sv.Color(255, 255, 255)
_COLORS = sv.ColorPalette.DEFAULT
#: Black on light colours, white on dark ones, by their luma.
_LETTERS = sv.ColorPalette(
    [_BLACK if 0.299 * c.r + 0.587 * c.g + 0.114 * c.b > 140 else _WHITE for c in _COLORS.colors]
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PADDING = 3
#: Seconds that a trace goes back.
_TRACE = 1.0


class Artist:
    """Draws boxes, identities, traces and counts.

    Args:
        size (tuple[int, int]): Width and height of the pictures: lines and text fit them.
        tracked (bool): Whether colours go by identity, and traces are drawn. Defaults to False.
        rate (float): Frames a second. Defaults to 25.
    """

    def __init__(self, size: tuple[int, int], tracked: bool = False, rate: float = 25.0) -> None:
        self.tracked = tracked
        thickness = sv.calculate_optimal_line_thickness(size) if min(size) >= 360 else 1
        self.text_scale = max(sv.calculate_optimal_text_scale(size), 0.4)
        self.label_scale = max(0.6 * self.text_scale, 0.3)  # smaller ones cannot be read
        lookup = sv.ColorLookup.TRACK if tracked else sv.ColorLookup.CLASS
        self.boxes = sv.BoxAnnotator(_COLORS, thickness, color_lookup=lookup)
        self.labels = sv.LabelAnnotator(
            _COLORS,
            text_color=_LETTERS,
            text_scale=self.label_scale,
            text_padding=_PADDING,
            color_lookup=lookup,
        )
        self.traces = sv.TraceAnnotator(
            _COLORS,
            thickness=thickness,
            trace_length=max(3, round(_TRACE * rate)),
            position=sv.Position.BOTTOM_CENTER,
            color_lookup=lookup,
        )

    def draw(self, image: np.ndarray, found: Detections, lines: tuple[str, ...] = ()) -> np.ndarray:
        """A picture with what was found in it.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3); it stays as it is.
            found (Detections): What to draw.
            lines (tuple[str]): What to write below the count.
        """
        drawn = image.copy()
        detections = found.to_supervision()
        if self.tracked:
            detections = detections[found.ids >= 0]  # others have no colour of their own
            drawn = self.traces.annotate(drawn, detections)
            words = [str(identity) for identity in detections.tracker_id]
        else:
            words = [f'{score:.2f}' for score in found.scores]
        drawn = self.boxes.annotate(drawn, detections)
        fits = self._fitting(detections.xyxy, words)
        drawn = self.labels.annotate(drawn, detections[fits], [words[i] for i in fits])
        return self._write(drawn, (count_text(found), *lines))

    def _fitting(self, boxes: np.ndarray, words: list[str]) -> np.ndarray:
        """Places of the labels that are no wider than their boxes and hide no better one."""
        sizes = [cv2.getTextSize(word, _FONT, self.label_scale, 1)[0] for word in words]
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

    def _write(self, image: np.ndarray, lines: tuple[str, ...]) -> np.ndarray:
        """Lines of text in the upper left corner."""
        scale, thickness = self.text_scale, max(1, round(1.5 * self.text_scale))
        padding = round(6 * scale) + 1
        for i, line in enumerate(lines):
            (width, height), below = cv2.getTextSize(line, _FONT, scale, thickness)
            # draw_text takes the middle of the text
            step = height + below + 2 * padding
            place = sv.Point(2 * padding + width // 2, padding + i * step + (step - below) // 2)
            image = sv.draw_text(
                image,
                line,
                place,
                text_color=_WHITE,
                text_scale=scale,
                text_thickness=thickness,
                text_padding=padding,
                background_color=_BLACK,
            )
        return image


def count_text(found: Detections) -> str:
    """How many there are of every class, as '12 people'."""
    counts = Counter(found.names())
    if not counts:
        counts[found.classes[0]] = 0
    return ', '.join(
        f'{number} {name if number == 1 else _MANY.get(name, name)}'
        for name, number in counts.items()
    )
