"""Figures: polygons that are rendered to small images with an alpha channel."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Point = Sequence[float]
Bounds = tuple[float, float, float, float]

NEUTRAL = 128  # shade that leaves a color as it is
_HALF = np.linspace(-np.pi / 2, np.pi / 2, 7)
_ENDS = np.concatenate([np.exp(1j * _HALF), -np.exp(1j * _HALF)])  # front half, back half
_ROUND = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], 1)
_SHIFT = 4  # binary places of the polygons' corners


def capsule(p: Point, q: Point, r0: float, r1: float) -> np.ndarray:
    """Return the outline of a limb from ``p`` (radius ``r0``) to ``q`` (radius ``r1``), (14, 2)."""
    start, end = complex(p[0], p[1]), complex(q[0], q[1])
    along = end - start
    along = along / abs(along) if along else 1.0
    outline = _ENDS * along
    outline[:7] = outline[:7] * r1 + end
    outline[7:] = outline[7:] * r0 + start
    return outline.view(float).reshape(-1, 2)


def ellipse(center: Point, rx: float, ry: float) -> np.ndarray:
    """Return the outline of an upright ellipse, (20, 2)."""
    return _CIRCLE * (rx, ry) + np.asarray(center)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the outline of an upright rectangle, (4, 2)."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


@dataclass
class _Item:
    outline: np.ndarray
    material: int | None  # None: changes the shade only
    shade: int
    part: str


@dataclass
class Sprite:
    """A rendered figure.

    Args:
        color (np.ndarray): ``(h, w, 3)`` BGR, multiplied by alpha.
        alpha (np.ndarray): ``(h, w)`` coverage, 0 to 255.
        left (int): Column of the image where the sprite begins.
        top (int): Row of the image where the sprite begins.
    """

    color: np.ndarray
    alpha: np.ndarray
    left: int
    top: int


class Figure:
    """Polygons painted one over the other; x to the right, y up, the ground at y = 0.

    Args:
        light (float): Where light comes from, -1 (left) to 1 (right).
    """

    def __init__(self, light: float = 0.0):
        self.light = light
        self._items: list[_Item] = []
        self._colors: list[Sequence[float]] = [(0, 0, 0)]
        self._patterns: list[tuple] = []
        self._cloth: list[int] = []

    def material(self, color: Sequence[float], cloth: bool = False) -> int:
        """Add a material of a BGR color; cloth gets folds."""
        self._colors.append(color)
        if cloth:
            self._cloth.append(len(self._colors) - 1)
        return len(self._colors) - 1

    def pattern(self, material: int, kind: str, color: Sequence[float], period: float) -> None:
        """Print stripes, columns, checks, dots or blocks of another color on a material."""
        self._patterns.append((material, kind, self.material(color), period))

    def add(
        self,
        outline: np.ndarray,
        material: int | None,
        shade: int = NEUTRAL,
        part: str = 'extra',
    ) -> None:
        """Paint a polygon; ``part`` is 'body', 'head' (of the body too) or 'extra'."""
        self._items.append(_Item(outline, material, shade, part))

    def limb(
        self,
        p: Point,
        q: Point,
        r0: float,
        r1: float,
        material: int,
        part: str = 'extra',
        tone: int = 0,
    ) -> None:
        """Paint a limb shaded like a cylinder."""
        self.add(capsule(p, q, r0, r1), material, 92 + tone, part)
        step = self.light * 0.3 * (r0 + r1) / 2
        p, q = (p[0] + step, p[1]), (q[0] + step, q[1])
        self.add(capsule(p, q, 0.68 * r0, 0.68 * r1), None, 124 + tone)
        self.add(capsule(p, q, 0.34 * r0, 0.34 * r1), None, 146 + tone)

    def ball(
        self, center: Point, rx: float, ry: float, material: int, part: str = 'extra', tone: int = 0
    ) -> None:
        """Paint an ellipse shaded like a ball."""
        self.add(ellipse(center, rx, ry), material, 98 + tone, part)
        x, y = center[0] + self.light * 0.25 * rx, center[1] + 0.1 * ry
        self.add(ellipse((x, y), 0.72 * rx, 0.72 * ry), None, 124 + tone)
        self.add(ellipse((x, y), 0.4 * rx, 0.4 * ry), None, 142 + tone)

    def slab(self, outline: np.ndarray, material: int, part: str = 'extra', tone: int = 0) -> None:
        """Paint a polygon that is darker on the side away from the light and at its rims."""
        self.add(outline, material, 96 + tone, part)
        middle = outline.mean(0)
        size = np.ptp(outline[:, 0])
        for scale, shade in ((0.74, 120), (0.4, 138)):
            inner = (outline - middle) * (scale, 0.97) + middle + (self.light * 0.1 * size, 0)
            self.add(inner, None, shade + tone)

    def paste(
        self, other: 'Figure', scale: float, offset: Point, color: Sequence[float] | None = None
    ) -> None:
        """Paint another figure, unprinted, on this one, in one color if given."""
        first = len(self._colors)
        for old in other._colors:
            self.material(old if color is None else color)
        for item in other._items:
            material = None if item.material is None else item.material + first
            self.add(item.outline * scale + np.asarray(offset), material, item.shade)

    def bounds(self, *parts: str) -> Bounds | None:
        """Return x0, y0, x1, y1 of the polygons of some parts or all; None without polygons."""
        outlines = [
            i.outline
            for i in self._items
            if i.material is not None and (not parts or i.part in parts)
        ]
        if not outlines:
            return None
        points = np.concatenate(outlines)
        return (*points.min(0), *points.max(0))

    def draw(
        self,
        rng: np.random.Generator,
        scale: float,
        x: float,
        y: float,
        tint: Sequence[float] = (0, 0, 0),
        haze: float = 0.0,
        bright: float = 1.0,
    ) -> Sprite:
        """Draw the figure.

        Args:
            rng (np.random.Generator): Decides folds and grain.
            scale (float): Pixels a unit.
            x (float): Column of the figure's x = 0.
            y (float): Row of the figure's y = 0.
            tint (Sequence[float]): BGR color of the haze.
            haze (float): Fraction of the haze, 0 to 1.
            bright (float): Brightness, 1 leaves colors as they are.
        """
        fine = 4 if scale < 60 else 3 if scale < 120 else 2
        x0, y0, x1, y1 = self.bounds()
        left, top = int(np.floor(x + x0 * scale)) - 1, int(np.floor(y - y1 * scale)) - 1
        width = int(np.ceil(x + x1 * scale)) + 2 - left
        height = int(np.ceil(y - y0 * scale)) + 2 - top
        label = np.zeros((height * fine, width * fine), np.uint8)
        shade = np.full_like(label, NEUTRAL)
        unit = scale * fine * (1 << _SHIFT)
        origin = np.array([(x - left) * fine, (y - top) * fine]) * (1 << _SHIFT) - (8, 8)
        for item in self._items:
            points = np.rint(item.outline * (unit, -unit) + origin).astype(np.int32)
            if item.material is not None:
                cv2.fillPoly(label, [points], item.material, cv2.LINE_8, _SHIFT)
            cv2.fillPoly(shade, [points], item.shade, cv2.LINE_8, _SHIFT)
        solid = cv2.threshold(label, 0, 255, cv2.THRESH_BINARY)[1]
        for material, kind, other, period in self._patterns:
            where = _printed(kind, period * scale * fine, label.shape, rng)
            label[where & (label == material)] = other
        soft = max(1, int(scale * fine * 0.012)) * 2 + 1
        shade = cv2.blur(shade, (soft, soft))
        if self._cloth:
            shade = _folds(rng, shade, scale * fine)
        table = np.zeros((256, 3), np.float32)
        table[: len(self._colors)] = self._colors
        table = table * bright * (1 - haze) + np.asarray(tint, np.float32) * haze
        table[0] = 0
        color = np.clip(table, 0, 255).astype(np.uint8)[label]
        color = cv2.multiply(color, cv2.merge([shade] * 3), scale=1 / NEUTRAL)
        size = (width, height)
        return Sprite(
            cv2.resize(color, size, interpolation=cv2.INTER_AREA),
            cv2.resize(solid, size, interpolation=cv2.INTER_AREA),
            left,
            top,
        )


def _folds(rng: np.random.Generator, shade: np.ndarray, unit: float) -> np.ndarray:
    """Add folds, finer along x than along y, and a slight grain."""
    height, width = shade.shape
    cells = (max(2, int(width / unit * 26)), max(2, int(height / unit * 13)))
    noise = rng.integers(0, 46, (cells[1], cells[0]), dtype=np.uint8)
    noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.add(cv2.subtract(shade, 22), noise)


def _printed(
    kind: str, period: float, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Return the mask of the pixels where a pattern is printed."""
    period = max(period, 2.0)
    rows = (np.arange(shape[0])[:, None] / period + rng.random()) % 1
    cols = (np.arange(shape[1])[None] / period + rng.random()) % 1
    if kind == 'stripes':
        return np.broadcast_to(rows < 0.45, shape)
    if kind == 'columns':
        return np.broadcast_to(cols < 0.35, shape)
    if kind == 'checks':
        return (rows < 0.3) | (cols < 0.3)
    if kind == 'dots':
        return (rows - 0.5) ** 2 + (cols - 0.5) ** 2 < 0.06
    if kind == 'blocks':
        cells = rng.random((int(shape[0] / period) + 2, int(shape[1] / period) + 2)) < 0.4
        ys = (np.arange(shape[0]) / period).astype(int)
        xs = (np.arange(shape[1]) / period).astype(int)
        return cells[ys][:, xs]
    raise ValueError(f'unknown pattern {kind!r}')
