"""Objects that detectors mistake for people: animals, fruit, chairs, rocks, screens, text.

Animals and simple shapes are rows of tables; a few functions draw them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .clutter import _bicycle
from .figure import Figure, Point, box, ellipse
from .people import cloth_color

_BROWN = ((40, 70, 110), (70, 100, 140), (30, 44, 70), (120, 150, 180))
_GREY = ((105, 110, 115), (80, 84, 90), (140, 145, 150))
_WHITE = ((215, 220, 225), (190, 200, 210))
_BLACK = ((28, 28, 30), (40, 42, 50))


@dataclass(frozen=True)
class Animal:
    """Proportions of a four-legged animal in side view, in metres.

    Args:
        length (float): Of the trunk, between fore and hind legs.
        legs (float): Height of the belly.
        depth (float): Radius of the trunk.
        neck (tuple[float, float]): Reach of the head forward and upward from the shoulder.
        head (float): Radius of the head.
        colors (tuple): BGR colors to choose from.
        pattern (str): Printed on it: '', 'columns' (stripes), 'blocks' or 'dots' (patches).
        trunk (bool): Has an elephant's trunk and ears.
    """

    length: float
    legs: float
    depth: float
    neck: tuple[float, float]
    head: float
    colors: tuple
    pattern: str = ''
    trunk: bool = False


ANIMALS: dict[str, Animal] = {
    'zebra': Animal(1.2, 0.75, 0.3, (0.5, 0.55), 0.15, _WHITE, 'columns'),
    'horse': Animal(1.3, 0.85, 0.31, (0.5, 0.6), 0.16, (*_BROWN, *_BLACK, *_WHITE)),
    'cow': Animal(1.4, 0.65, 0.38, (0.55, 0.1), 0.2, (*_WHITE, *_BROWN, *_BLACK), 'blocks'),
    'elephant': Animal(2.0, 1.1, 0.75, (0.9, 0.3), 0.45, _GREY, '', True),
    'giraffe': Animal(1.5, 1.7, 0.4, (0.7, 2.0), 0.2, ((90, 150, 200),), 'blocks'),
    'dog': Animal(0.5, 0.3, 0.13, (0.2, 0.22), 0.11, (*_BROWN, *_BLACK, *_WHITE)),
    'cat': Animal(0.28, 0.16, 0.08, (0.1, 0.1), 0.07, (*_GREY, *_BLACK, *_BROWN), 'columns'),
    'sheep': Animal(0.8, 0.35, 0.28, (0.35, 0.1), 0.13, _WHITE),
    'bear': Animal(1.1, 0.5, 0.42, (0.5, 0.0), 0.24, (*_BROWN, *_BLACK)),
}


def draw_animal(
    rng: np.random.Generator, fig: Figure, spec: Animal, side: int | None = None
) -> None:
    """Draw an animal in side view, its feet at y = 0; ``side`` 1 looks to the right.

    Example:
        >>> figure = Figure()
        >>> draw_animal(np.random.default_rng(0), figure, ANIMALS['zebra'])
        >>> bool(figure.bounds()[3] > 1.0)
        True
    """
    side = side or (1 if rng.random() < 0.5 else -1)
    base = np.array(spec.colors[rng.integers(len(spec.colors))], float) * rng.uniform(0.7, 1.2)
    coat = fig.material(np.clip(base, 8, 245), cloth=True)
    if spec.pattern:
        dark = np.clip(base * rng.uniform(0.05, 0.35), 5, 200)
        period = spec.depth * rng.uniform(0.25, 0.6)
        fig.pattern(coat, spec.pattern, dark, period)
    half, deep = spec.length / 2, spec.depth
    back = spec.legs + deep
    for far in (True, False):
        for end in (-1, 1):
            x = end * half * 0.9 + (0.1 * deep if far else -0.1 * deep)
            foot = x + rng.normal(0, 0.12) * spec.legs
            knee = ((x + foot) / 2 + rng.normal(0, 0.04), spec.legs * 0.5)
            tone = -22 if far else 0
            thick = deep * (0.42 if spec.trunk else 0.26)
            fig.limb(knee, (foot, 0.0), thick * 0.8, thick * 0.6, coat, tone=tone)
            fig.limb((x, back), knee, thick * 1.5, thick * 0.8, coat, tone=tone)
    fig.limb((-half, back), (half, back), deep, deep * 0.95, coat)
    shoulder = np.array([side * half, back + 0.3 * deep])
    down = rng.random() < 0.3  # grazing
    reach = np.array([side * spec.neck[0], spec.neck[1] * (-1.0 if down else 1.0)])
    head = np.maximum(shoulder + reach, (-9, spec.head))
    fig.limb(shoulder, head, deep * 0.6, spec.head * 0.8, coat)
    nose = head + (side * spec.head * 1.3, -spec.head * 0.8)
    fig.limb(head, nose, spec.head, spec.head * 0.55, coat)
    for k in (-0.5, 0.5):
        ear = head + (k * spec.head, spec.head * 1.1)
        fig.limb(ear, ear + (k * 0.1, spec.head * 0.5), spec.head * 0.25, 0.02, coat)
    fig.add(ellipse(head + (side * 0.3 * spec.head, 0.1 * spec.head), 0.02, 0.02), None, 40)
    if spec.trunk:
        fig.ball(head - (side * 0.3, 0.0), 0.35, 0.5, coat, tone=-10)
        fig.limb(nose, (nose[0] + side * 0.2, 0.35), 0.18, 0.09, coat)
    tail = np.array([-side * (half + deep * 0.8), back + 0.3 * deep])
    fig.limb(tail, tail - (side * 0.12, spec.legs * 0.7), 0.06 * deep + 0.02, 0.02, coat)


def _blob(rng, center: Point, rx: float, ry: float, rough: float, corners: int = 13) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = 1 + rng.normal(0, rough, corners)
    return np.stack([np.cos(angles) * rx * reach, np.sin(angles) * ry * reach], 1) + center


def _rock(rng, fig):
    for _ in range(rng.integers(1, 4)):
        gray = rng.uniform(60, 170) * rng.uniform(0.9, 1.1, 3)
        rx, ry = rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.1)
        fig.slab(_blob(rng, (rng.normal(0, 0.5), ry * 0.8), rx, ry, 0.12), fig.material(gray, True))


def _fruit(rng, fig):
    """Draw a heap of round fruit, or a hand of bananas."""
    colors = ((60, 190, 235), (40, 130, 240), (40, 50, 200), (60, 180, 110), (70, 220, 245))
    if rng.random() < 0.5:
        for _ in range(rng.integers(3, 9)):
            skin = fig.material(np.array((60, 205, 240)) * rng.uniform(0.75, 1.05, 3))
            x, bend, tall = rng.normal(0, 0.25), rng.normal(0, 0.25), rng.uniform(0.7, 1.1)
            points = [
                (x + bend * np.sin(t * np.pi) + 0.2 * t, t * tall) for t in np.linspace(0, 1, 6)
            ]
            for p, q in zip(points[:-1], points[1:], strict=True):
                fig.limb(p, q, 0.11, 0.11, skin)
            fig.limb(
                points[-1], np.add(points[-1], (0.02, 0.1)), 0.04, 0.03, fig.material((40, 80, 90))
            )
        return
    color = np.array(colors[rng.integers(len(colors))])
    for _ in range(rng.integers(3, 16)):
        r = rng.uniform(0.12, 0.24)
        skin = fig.material(np.clip(color * rng.uniform(0.8, 1.1, 3), 0, 250))
        fig.ball((rng.normal(0, 0.4), r + rng.uniform(0, 0.5)), r, r, skin)


def _chair(rng, fig):
    wood = fig.material(cloth_color(rng))
    seat, wide, tall = rng.uniform(0.4, 0.5), rng.uniform(0.2, 0.3), rng.uniform(0.8, 1.15)
    for x in (-wide, -wide * 0.7, wide * 0.7, wide):
        fig.limb((x, 0), (x * 0.95, seat), 0.022, 0.022, wood)
    if rng.random() < 0.5:  # slats
        for x in np.linspace(-wide, wide, rng.integers(3, 7)):
            fig.limb((x, seat), (x, tall), 0.02, 0.02, wood)
        fig.limb((-wide, tall), (wide, tall), 0.035, 0.035, wood)
    else:
        fig.slab(box(-wide, seat + 0.1, wide, tall), wood)
    fig.slab(box(-wide * 1.1, seat - 0.03, wide * 1.1, seat + 0.05), wood)


def _sofa(rng, fig):
    cloth = fig.material(cloth_color(rng), cloth=True)
    wide, tall = rng.uniform(0.5, 1.1), rng.uniform(0.75, 1.0)
    fig.slab(box(-wide, 0.1, wide, tall), cloth)
    fig.slab(box(-wide, 0.1, wide, 0.48), cloth, tone=12)
    for side in (-1, 1):
        fig.slab(box(side * wide - 0.13, 0.05, side * wide + 0.13, 0.65), cloth, tone=-8)
    for _ in range(rng.integers(0, 4)):
        x = rng.uniform(-0.8, 0.6) * wide
        fig.slab(box(x, 0.45, x + 0.36, 0.8), fig.material(cloth_color(rng), True))


def _screen(rng, fig):
    """Draw a monitor, television or telephone that shows text or shapes."""
    wide, tall, foot = rng.uniform(0.25, 0.8), rng.uniform(0.25, 0.55), rng.uniform(0.1, 0.9)
    fig.limb((0, 0), (0, foot), 0.04, 0.03, fig.material((50, 50, 52)))
    fig.add(box(-wide, foot, wide, foot + 2 * tall), fig.material((25, 25, 28)), 118)
    glow = fig.material(cloth_color(rng) if rng.random() < 0.6 else (235, 235, 230))
    fig.add(box(-wide * 0.92, foot + 0.05, wide * 0.92, foot + 2 * tall - 0.05), glow, 135)
    _write(rng, fig, -wide * 0.85, foot + 0.08, wide * 0.85, foot + 2 * tall - 0.1)


def _write(rng, fig, x0, y0, x1, y1):
    """Draw rows of strokes that look like text, and a shape now and then."""
    ink = fig.material(cloth_color(rng))
    size = rng.uniform(0.05, 0.35) * (y1 - y0)
    y = y1 - size
    while y > y0:
        x, end = x0, rng.uniform(x0 + 0.4 * (x1 - x0), x1)
        while x < end - 0.4 * size:
            for _ in range(rng.integers(1, 4)):
                p, q = rng.integers(0, 3, (2, 2)) / 2 * (0.5 * size, 0.9 * size) + (x, y)
                fig.add(_stroke(p, q, size * 0.07), ink, 126)
            x += size * (0.7 if rng.random() < 0.85 else 1.3)
        y -= size * rng.uniform(1.2, 1.8)
    if rng.random() < 0.4:
        at = rng.uniform((x0, y0), (x1, y1))
        r = rng.uniform(0.1, 0.3) * (y1 - y0)
        fig.add(ellipse(at, r, r), fig.material(cloth_color(rng)), 126)


def _stroke(p, q, r):
    side = np.array([q[1] - p[1], p[0] - q[0]])
    side = side / (np.hypot(*side) + 1e-6) * r
    return np.array([p - side, q - side, q + side, p + side])


def _text_sign(rng, fig):
    wide, low, tall = rng.uniform(0.3, 1.1), rng.uniform(0.0, 1.2), rng.uniform(0.4, 1.2)
    fig.limb((0, 0), (0, low + 0.1), 0.04, 0.04, fig.material((90, 92, 94)))
    fig.add(box(-wide, low, wide, low + tall), fig.material(cloth_color(rng)), 126)
    _write(rng, fig, -wide * 0.9, low + 0.05, wide * 0.9, low + tall - 0.05)


def _vessel(rng, fig):
    """Draw bottles, vases and cups side by side."""
    for _ in range(rng.integers(1, 5)):
        x, tall, r = rng.normal(0, 0.4), rng.uniform(0.4, 1.3), rng.uniform(0.08, 0.2)
        heights = np.array([0, 0.1, 0.55, 0.7, 0.75, 1.0]) * tall
        widths = r * np.array([0.8, 1, rng.uniform(0.7, 1.1), rng.uniform(0.3, 1), 0.4, 0.4])
        right = np.stack([x + widths, heights], 1)
        left = np.stack([x - widths, heights], 1)[::-1]
        fig.slab(np.concatenate([right, left]), fig.material(cloth_color(rng)))


def _toy(rng, fig):
    """Draw a sitting teddy bear, which has the parts of a person."""
    fur = fig.material(np.array(_BROWN[rng.integers(4)]) * rng.uniform(0.8, 1.6), cloth=True)
    light = fig.material((150, 180, 205))
    for side in (-1, 1):
        fig.limb((side * 0.2, 0.2), (side * 0.42, 0.12), 0.15, 0.15, fur)
        fig.ball((side * 0.45, 0.14), 0.11, 0.14, light)
    fig.ball((0, 0.42), 0.32, 0.38, fur)
    for side in (-1, 1):
        fig.limb((side * 0.25, 0.6), (side * 0.48, 0.4), 0.11, 0.1, fur)
        fig.ball((side * 0.24, 1.22), 0.11, 0.11, fur)
    fig.ball((0, 1.0), 0.29, 0.27, fur)
    fig.ball((0, 0.92), 0.13, 0.1, light)
    for x, y, r in ((-0.1, 1.06, 0.03), (0.1, 1.06, 0.03), (0, 0.96, 0.045)):
        fig.add(ellipse((x, y), r, r), fig.material((20, 20, 22)), 126)


def _bird(rng, fig):
    coat = fig.material(cloth_color(rng), cloth=True)
    side = 1 if rng.random() < 0.5 else -1
    for x in (-0.05, 0.06):
        fig.limb((x, 0), (x, 0.4), 0.015, 0.02, fig.material((50, 120, 200)))
    fig.limb((-0.3 * side, 0.45), (0.15 * side, 0.6), 0.08, 0.17, coat)
    fig.limb((0.15 * side, 0.65), (0.22 * side, 1.0), 0.09, 0.06, coat)
    fig.ball((0.24 * side, 1.03), 0.09, 0.08, coat)
    fig.limb((0.3 * side, 1.02), (0.45 * side, 0.98), 0.03, 0.01, fig.material((40, 150, 220)))


def _animal(name: str) -> Callable[[np.random.Generator, Figure], None]:
    return lambda rng, fig: draw_animal(rng, fig, ANIMALS[name])


#: Drawing function by name.
OBJECTS: dict[str, Callable[[np.random.Generator, Figure], None]] = {
    'rock': _rock,
    'fruit': _fruit,
    'chair': _chair,
    'sofa': _sofa,
    'screen': _screen,
    'text_sign': _text_sign,
    'vessel': _vessel,
    'toy': _toy,
    'bird': _bird,
    **{name: _animal(name) for name in ANIMALS},
}
INDOOR_OBJECTS = ('fruit', 'chair', 'sofa', 'screen', 'text_sign', 'vessel', 'toy', 'dog', 'cat')


def make_object(rng: np.random.Generator, indoor: bool, light: float = 0.0) -> tuple[str, Figure]:
    """Draw an object that is no person, in metres; return its name and figure.

    Example:
        >>> name, figure = make_object(np.random.default_rng(0), indoor=True)
        >>> name in INDOOR_OBJECTS
        True
    """
    names = INDOOR_OBJECTS if indoor else tuple(OBJECTS)
    name = names[rng.integers(len(names))]
    figure = Figure(light)
    OBJECTS[name](rng, figure)
    return name, figure


def make_mount(rng: np.random.Generator, seat: str, light: float = 0.0) -> Figure:
    """Draw a bicycle or an animal to ride, facing right, in metres.

    Example:
        >>> bool(make_mount(np.random.default_rng(0), 'animal').bounds()[1] <= 0)
        True
    """
    figure = Figure(light)
    if seat == 'bicycle':
        _bicycle(rng, figure)
    else:
        draw_animal(rng, figure, ANIMALS['horse'], side=1)
    return figure


def make_front(rng: np.random.Generator, light: float = 0.0) -> Figure:
    """Draw furniture that hides a person behind it up to the waist, in metres.

    Example:
        >>> bool(0.5 < make_front(np.random.default_rng(0)).bounds()[3] < 2.5)
        True
    """
    figure = Figure(light)
    wide, tall = rng.uniform(0.4, 1.6), rng.uniform(0.6, 1.15)
    color = figure.material(cloth_color(rng), cloth=bool(rng.random() < 0.5))
    if rng.random() < 0.6:
        figure.slab(box(-wide, 0, wide, tall), color)
    else:
        for x in (-wide * 0.9, wide * 0.9):
            figure.limb((x, 0), (x, tall), 0.04, 0.04, color)
        figure.slab(box(-wide, tall - rng.uniform(0.05, 0.4), wide, tall), color)
    figure.slab(box(-wide * 1.05, tall - 0.05, wide * 1.05, tall + 0.02), color, tone=14)
    for _ in range(rng.integers(0, 5)):
        item, scale = Figure(light), rng.uniform(0.1, 0.4)
        (_vessel, _fruit, _screen)[rng.integers(3)](rng, item)
        figure.paste(item, scale, (rng.uniform(-0.8, 0.8) * wide, tall))
    return figure
