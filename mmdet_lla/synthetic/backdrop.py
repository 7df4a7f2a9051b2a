"""Cluttered backdrops: shop fronts, glass, shelves, signs and portraits.

What a detector takes for people on real streets is seldom street furniture and often the wall
behind: these walls have edges of every size, upright shapes, and faces that are nobody.
"""

from collections.abc import Callable

import cv2
import numpy as np

from .background import noise
from .people import _HAIR, _SKIN, cloth_color
from .textures import dead_leaves

Panel = Callable[[np.random.Generator, np.ndarray, np.ndarray, float], None]


def paint_backdrop(
    rng: np.random.Generator, canvas: np.ndarray, base: int, metre: float, cover: float
) -> None:
    """Cover the image above row ``base`` with panels side by side, in place.

    Args:
        rng (np.random.Generator): Decides everything else.
        canvas (np.ndarray): ``(h, w, 3)`` BGR.
        base (int): Row where the ground begins.
        metre (float): Pixels a metre at the wall.
        cover (float): Fraction of the panels that are painted; others show what was there.
    """
    width = canvas.shape[1]
    if base < 3:  # a camera that sees nothing but ground
        return
    palette = _palette(rng)
    names = list(_PANELS)
    weights = rng.dirichlet(np.full(len(names), 0.7))
    x, reach = -int(rng.uniform(0, 2) * metre), float(rng.uniform(1.2, 6.0))
    while x < width:
        span = max(6, int(rng.uniform(0.4, 1.6) * reach * metre))
        tall = int(rng.uniform(2.2, 5.0) * metre) if rng.random() < 0.5 else base
        x0, x1, y0 = max(x, 0), min(x + span, width), max(0, base - tall)
        if x1 - x0 > 3 and base - y0 > 3 and rng.random() < cover:
            panel = canvas[y0:base, x0:x1]
            _PANELS[names[rng.choice(len(names), p=weights)]](rng, panel, palette, metre)
            if rng.random() < 0.5:
                _above(rng, panel, palette, metre)
        x += span
    if rng.random() < 0.5:  # beams, awnings, cables
        for _ in range(rng.integers(1, 7)):
            ends = rng.random((2, 2)) * (width * 1.2, base)
            ends[1, 1] = ends[0, 1] + rng.normal(0, 0.15) * width
            thick = max(1, int(rng.uniform(0.02, 0.3) * metre))
            p, q = (tuple(int(v) for v in e) for e in ends)
            cv2.line(canvas[:base], p, q, _tone(rng, palette), thick, cv2.LINE_AA)
    stains = 1 + noise(rng, width, base, 0.4 * width, 3) * rng.uniform(0.1, 0.7)
    canvas[:base] = cv2.multiply(canvas[:base], cv2.merge([stains] * 3), dtype=cv2.CV_8U)


def _palette(rng) -> np.ndarray:
    """Choose the colors of a backdrop, BGR, (n, 3): mostly grays and browns, dark or light."""
    gray = rng.uniform(20, 220, (7, 1)) + rng.normal(0, 10, (7, 3)) + np.array((-8, 0, 8))
    vivid = np.array([cloth_color(rng) for _ in range(int(rng.integers(1, 6)))])
    return np.clip(np.concatenate([gray, vivid]), 5, 245)


def _tone(rng, palette, low: float = 0.6, high: float = 1.3) -> tuple[float, float, float]:
    color = palette[rng.integers(len(palette))] * rng.uniform(low, high)
    return tuple(float(min(v, 250)) for v in color)


def _rect(image, x0, y0, x1, y1, color) -> None:
    cv2.rectangle(image, (int(x0), int(y0)), (int(x1), int(y1)), color, -1)


def _ramp(rng, image) -> None:
    """Darken a panel along one direction, in place."""
    height, width = image.shape[:2]
    across = np.linspace(*rng.uniform(0.5, 1.3, 2), width, dtype=np.float32)
    down = np.linspace(*rng.uniform(0.5, 1.3, 2), height, dtype=np.float32)
    field = cv2.merge([down[:, None] * across[None]] * 3)
    image[:] = cv2.multiply(image, field, dtype=cv2.CV_8U)


def _leaves(rng, image, palette, metre):
    height, width = image.shape[:2]
    image[:] = dead_leaves(rng, width, height, palette, int(rng.integers(40, 220)))


def _plain(rng, image, palette, metre):
    image[:] = _tone(rng, palette)
    _ramp(rng, image)
    step = rng.uniform(0.15, 1.2) * metre
    for at in np.arange(0, max(image.shape[:2]), max(3.0, step)):
        color = tuple(float(v) * 0.85 for v in image[0, 0])
        cv2.line(image, (0, int(at)), (image.shape[1], int(at)), color)
        if rng.random() < 0.5:
            cv2.line(image, (int(at), 0), (int(at), image.shape[0]), color)


def _shelves(rng, image, palette, metre):
    height, width = image.shape[:2]
    image[:] = _tone(rng, palette, 0.3, 0.8)
    step = max(5.0, rng.uniform(0.25, 0.7) * metre)
    for y in np.arange(0, height, step):
        x, tall, pitch = 0.0, step * rng.uniform(0.5, 0.9), rng.uniform(0.06, 0.4) * metre
        few = np.array([_tone(rng, palette) for _ in range(3)])
        while x < width:
            wide = max(2.0, pitch * rng.uniform(0.5, 1.3))
            top = y + step - tall * rng.uniform(0.6, 1)
            _rect(image, x, top, x + wide * 0.9, y + step - 2, tuple(few[rng.integers(3)]))
            x += wide
        cv2.line(image, (0, int(y + step)), (width, int(y + step)), _tone(rng, palette), 2)
    _ramp(rng, image)


def _glass(rng, image, palette, metre):
    """Draw framed glass with something behind it and a reflection."""
    height, width = image.shape[:2]
    behind = dead_leaves(rng, width, height, palette * 0.6, 60)
    mirrored = dead_leaves(rng, width, height, np.clip(palette * 1.3, 0, 250), 40)
    size = max(1, int(rng.uniform(0.01, 0.12) * metre)) * 2 + 1
    share = rng.uniform(0.2, 0.6)
    image[:] = cv2.addWeighted(behind, 1 - share, cv2.blur(mirrored, (size, size)), share, 0)
    frame, thick = _tone(rng, palette, 0.3, 1.3), max(1, int(rng.uniform(0.03, 0.12) * metre))
    x = rng.uniform(0, 1) * metre
    while x < width:
        cv2.line(image, (int(x), 0), (int(x), height), frame, thick)
        x += rng.uniform(0.5, 2.0) * metre
    _ramp(rng, image)


def _uprights(rng, image, palette, metre):
    """Draw things as wide and tall as people: doors, columns, banners, coats, plants."""
    height, width = image.shape[:2]
    image[:] = _tone(rng, palette)
    _ramp(rng, image)
    x = 0.0
    while x < width:
        wide, tall = rng.uniform(0.2, 0.8) * metre, rng.uniform(0.9, 2.6) * metre
        foot = height - rng.uniform(0, 0.5) * metre
        color = _tone(rng, palette)
        _rect(image, x, foot - tall, x + wide, foot, color)
        if rng.random() < 0.6:
            cut = foot - tall * rng.uniform(0.3, 0.7)
            _rect(image, x, cut, x + wide, foot, _tone(rng, palette))
        if rng.random() < 0.4:
            center = int(x + wide / 2), int(foot - tall)
            cv2.circle(image, center, max(1, int(wide * 0.35)), _tone(rng, palette), -1)
        x += wide + rng.exponential(0.6) * metre


def _lettering(rng, image, palette, metre):
    """Draw a sign: rows of strokes that look like distant letters, and a round mark."""
    height, width = image.shape[:2]
    image[:] = _tone(rng, palette)
    y = rng.uniform(0, 0.3) * metre
    while y < height:
        size, ink = rng.uniform(0.08, 0.7) * metre, _tone(rng, palette)
        x, thick = rng.uniform(0, 0.4) * metre, max(1, int(size * rng.uniform(0.06, 0.2)))
        while x < width:
            for _ in range(rng.integers(2, 5)):
                ends = rng.integers(0, 3, (2, 2)) / 2 * (0.55 * size, size) + (x, y)
                p, q = (tuple(int(v) for v in e) for e in ends)
                cv2.line(image, p, q, ink, thick, cv2.LINE_AA)
            x += size * (0.75 if rng.random() < 0.85 else 1.5)
            if rng.random() < 0.05:
                break
        y += size * rng.uniform(1.3, 2.5)
    if rng.random() < 0.5:
        center = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        cv2.circle(
            image, center, max(2, int(rng.uniform(0.2, 0.7) * metre)), _tone(rng, palette), -1
        )


def _portraits(rng, image, palette, metre):
    """Draw screens and advertisements with faces larger than those of people there."""
    height, width = image.shape[:2]
    _plain(rng, image, palette, metre)
    for _ in range(rng.integers(1, 4)):
        tall = rng.uniform(0.5, 2.2) * metre
        wide = tall * rng.uniform(0.7, 1.8)
        x, y = rng.uniform(0, max(1, width - wide)), rng.uniform(0, max(1, height - tall))
        poster = image[int(y) : int(y + tall), int(x) : int(x + wide)]
        if min(poster.shape[:2]) < 6:
            continue
        poster[:] = _tone(rng, palette, 0.9, 1.6)
        rows, cols = poster.shape[:2]
        head = rows * rng.uniform(0.2, 0.4)
        cx, cy = cols * rng.uniform(0.3, 0.7), rows * rng.uniform(0.35, 0.6)
        skin = tuple(float(v) for v in _SKIN[rng.integers(len(_SKIN))])
        hair = tuple(float(v) for v in _HAIR[rng.integers(len(_HAIR))])
        shirt = tuple(float(v) for v in cloth_color(rng))
        middle = (int(cx), int(cy))
        below = (int(cx), int(cy + head * 1.7))
        cv2.ellipse(poster, below, (int(head * 1.5), int(head)), 0, 0, 360, shirt, -1)
        cv2.ellipse(poster, middle, (int(head * 0.9), int(head * 1.1)), 0, 0, 360, hair, -1)
        face = (int(cx), int(cy + head * 0.2))
        cv2.ellipse(poster, face, (int(head * 0.65), int(head * 0.85)), 0, 0, 360, skin, -1)
        for side in (-1, 1):
            eye = (int(cx + side * head * 0.28), int(cy + head * 0.1))
            cv2.circle(poster, eye, max(1, int(head * 0.08)), (40, 36, 40), -1)
        mouth = (int(cx), int(cy + head * 0.65))
        cv2.ellipse(
            poster, mouth, (int(head * 0.25), int(head * 0.08)), 0, 0, 360, (90, 80, 160), -1
        )


def _room(rng, image, palette, metre):
    """Draw a room behind an open front: dark walls, lamps, a counter."""
    height, width = image.shape[:2]
    image[:] = _tone(rng, palette, 0.2, 0.6)
    inner = image[int(height * 0.25) : int(height * 0.9), int(width * 0.12) : int(width * 0.88)]
    if min(inner.shape[:2]) > 8:
        (_shelves if rng.random() < 0.5 else _leaves)(rng, inner, palette * 0.6, 0.6 * metre)
    for _ in range(rng.integers(2, 12)):
        center = int(rng.uniform(0, width)), int(rng.uniform(0, height * 0.3))
        axes = max(1, int(rng.uniform(0.04, 0.25) * metre)), max(1, int(0.04 * metre))
        cv2.ellipse(image, center, axes, rng.uniform(-20, 20), 0, 360, (225, 240, 250), -1)
    counter = height - rng.uniform(0.5, 1.1) * metre
    left = rng.uniform(0, width * 0.6)
    _rect(image, left, counter, left + rng.uniform(1, 3) * metre, height, _tone(rng, palette))
    _ramp(rng, image)


def _above(rng, panel, palette, metre):
    """Draw a fascia over the upper part of the panel."""
    tall = int(rng.uniform(0.3, 1.2) * metre)
    at = int(rng.uniform(0, 0.5) * panel.shape[0])
    strip = panel[at : at + tall]
    if min(strip.shape[:2]) > 6:
        _lettering(rng, strip, palette, metre)


_PANELS: dict[str, Panel] = {
    'leaves': _leaves,
    'plain': _plain,
    'shelves': _shelves,
    'glass': _glass,
    'uprights': _uprights,
    'lettering': _lettering,
    'portraits': _portraits,
    'room': _room,
}
