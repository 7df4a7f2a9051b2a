"""Detections drawn into pictures, by supervision; needs the extra ``predict``."""

from __future__ import annotations

from collections import Counter

import numpy as np
import supervision as sv

from ..runtime import Detections

#: What several of a class are called.
_MANY = {'person': 'people'}
_BACK = sv.Color(0, 0, 0)


class Artist:
    """Draws boxes, identities, traces and counts.

    Args:
        size (tuple[int, int]): Width and height of the pictures: lines and text fit them.
        tracked (bool): Whether colours go by identity, and traces are drawn. Defaults to False.
    """

    def __init__(self, size: tuple[int, int], tracked: bool = False) -> None:
        self.tracked = tracked
        self.thickness = sv.calculate_optimal_line_thickness(size)
        self.text_scale = sv.calculate_optimal_text_scale(size)
        lookup = sv.ColorLookup.TRACK if tracked else sv.ColorLookup.CLASS
        self.boxes = sv.BoxAnnotator(thickness=self.thickness, color_lookup=lookup)
        self.labels = sv.LabelAnnotator(
            text_scale=0.6 * self.text_scale, text_padding=3, color_lookup=lookup
        )
        self.traces = sv.TraceAnnotator(
            thickness=self.thickness,
            trace_length=30,
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
        # numbers on small boxes would hide them
        large = detections.box_area > (60 * self.text_scale) ** 2
        drawn = self.labels.annotate(
            drawn,
            detections[large],
            [word for word, fits in zip(words, large, strict=True) if fits],
        )
        return self._write(drawn, (count_text(found), *lines))

    def _write(self, image: np.ndarray, lines: tuple[str, ...]) -> np.ndarray:
        """Lines of text in the upper left corner."""
        step = 36 * self.text_scale
        for i, line in enumerate(lines):
            # draw_text takes the middle of the text; Hershey's letters are about so wide
            place = sv.Point(8 + 9.5 * len(line) * self.text_scale, (i + 0.7) * step)
            image = sv.draw_text(
                image,
                line,
                place,
                text_color=sv.Color(255, 255, 255),
                text_scale=self.text_scale,
                text_thickness=max(1, round(1.5 * self.text_scale)),
                text_padding=round(6 * self.text_scale),
                background_color=_BACK,
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
