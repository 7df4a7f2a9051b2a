"""Backgrounds: streets, squares, parks and halls with ground, walls and sky."""

from collections.abc import Callable

import cv2
import numpy as np

from .layout import Camera
from .people import cloth_color

_WALLS = (
    (150, 170, 190),
    (110, 130, 165),
    (96, 100, 130),
    (180, 190, 198),
    (120, 124, 128),
    (140, 150, 140),
    (170, 150, 130),
    (80, 90, 120),
    (205, 210, 214),
    (90, 84, 80),
)
_FLOORS = (
    (118, 122, 126),
    (140, 148, 156),
    (96, 98, 100),
    (150, 160, 170),
    (124, 136, 156),
    (170, 176, 180),
    (80, 82, 84),
    (116, 124, 150),
)


def noise(
    rng: np.random.Generator, width: int, height: int, cell: float, octaves: int = 3
) -> np.ndarray:
    """Draw smooth noise of mean 0 and about unit range, float32, (height, width)."""
    total = np.zeros((height, width), np.float32)
    for k in range(octaves):
        size = max(cell / 2**k, 1.0)
        grid = rng.random((int(height / size) + 3, int(width / size) + 3), dtype=np.float32) - 0.5
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**k
    return total


def _any(rng: np.random.Generator, colors, spread: float = 6.0) -> np.ndarray:
    color = np.array(colors[rng.integers(len(colors))], float) * rng.uniform(0.7, 1.2)
    return np.clip(color + rng.normal(0, spread, 3), 10, 240)


def _flat(color, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), np.clip(color, 0, 255), np.uint8)


def _mottle(image: np.ndarray, rng: np.random.Generator, cell: float, strength: float) -> None:
    """Add light and dark stains, in place."""
    height, width = image.shape[:2]
    grain = noise(rng, width, height, cell) * strength + 1
    image[:] = cv2.multiply(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)


def _sky(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    top, low = (
        ((200, 150, 100), (235, 220, 200)),
        ((190, 185, 180), (225, 222, 220)),
        ((150, 120, 110), (170, 200, 240)),
        ((80, 60, 46), (130, 110, 110)),
    )[rng.choice(4, p=(0.45, 0.35, 0.13, 0.07))]
    ramp = np.linspace(0, 1, height)[:, None, None]
    sky = (np.array(top) * (1 - ramp) + np.array(low) * ramp) * np.ones((1, width, 1))
    clouds = np.clip(noise(rng, width, height, 160, 4) * rng.uniform(0, 2.2), 0, 1)[..., None]
    return np.clip(sky * (1 - clouds * 0.7) + 236 * clouds * 0.7, 0, 255).astype(np.uint8)


def facade(rng: np.random.Generator, width: int, height: int, metre: float) -> np.ndarray:
    """A house front of the size, ``metre`` pixels a metre: windows above, shops and doors below."""
    image = _flat(_any(rng, _WALLS), width, height)
    _mottle(image, rng, max(4.0, 2.5 * metre), 0.22)
    if rng.random() < 0.4:
        for y in np.arange(0, height, max(3.0, 0.3 * metre)):
            cv2.line(image, (0, int(y)), (width, int(y)), tuple(int(v) for v in image[0, 0] * 0.85))
    storey, pitch = rng.uniform(2.9, 3.8) * metre, rng.uniform(1.8, 3.2) * metre
    wide, tall = pitch * rng.uniform(0.4, 0.75), storey * rng.uniform(0.45, 0.65)
    glass = np.array((rng.uniform(60, 130), rng.uniform(60, 110), rng.uniform(50, 90)))
    frame = tuple(int(v) for v in _any(rng, ((230, 230, 230), (60, 60, 60), (90, 110, 140))))
    ground = height - 1.15 * storey
    y = ground - storey
    while y > -storey:
        for x in np.arange(rng.uniform(0.1, 0.4) * pitch, width, pitch):
            color = glass * rng.uniform(0.6, 1.5)
            if rng.random() < 0.08:
                color = np.array((130, 190, 220))
            p = (int(x), int(y + storey * 0.2))
            q = (int(x + wide), int(y + storey * 0.2 + tall))
            cv2.rectangle(image, p, q, tuple(float(min(v, 255)) for v in color), -1)
            cv2.line(image, ((p[0] + q[0]) // 2, p[1]), ((p[0] + q[0]) // 2, q[1]), frame)
            cv2.rectangle(image, p, q, frame, max(1, int(metre * 0.07)))
        y -= storey
    x = rng.uniform(0, 0.5) * metre
    while x < width:
        span = rng.uniform(1.0, 5.0) * metre
        p, q = (int(x), int(ground + storey * 0.25)), (int(x + span), height)
        kind = rng.random()
        color = cloth_color(rng) * 0.6 if kind < 0.3 else glass * rng.uniform(0.5, 1.4)
        cv2.rectangle(image, p, q, tuple(float(min(v, 255)) for v in color), -1)
        if kind > 0.3:  # a shop window with goods
            for _ in range(int(rng.integers(2, 7))):
                gx, gw = rng.uniform(x, x + span), rng.uniform(0.1, 0.5) * metre
                gh = rng.uniform(0.3, 1.4) * metre
                cv2.rectangle(
                    image,
                    (int(gx), int(height - 0.3 * metre - gh)),
                    (int(min(gx + gw, x + span)), int(height - 0.3 * metre)),
                    tuple(float(v) for v in cloth_color(rng)),
                    -1,
                )
            sign = tuple(float(v) for v in cloth_color(rng))
            cv2.rectangle(image, (p[0], int(ground)), (q[0], p[1]), sign, -1)
            if rng.random() < 0.35:
                awning = np.array(
                    [
                        p,
                        (q[0], p[1]),
                        (q[0] + int(0.2 * metre), p[1] + int(metre)),
                        (p[0] - int(0.2 * metre), p[1] + int(metre)),
                    ]
                )
                cv2.fillPoly(image, [awning], tuple(float(v) for v in cloth_color(rng)))
        x += span + rng.uniform(0.1, 1.2) * metre
    return image


def _paste(canvas: np.ndarray, image: np.ndarray, left: int, bottom: int) -> None:
    """Paste an image by its lower left corner, cut at the borders."""
    height, width = image.shape[:2]
    x0, y0 = max(left, 0), max(bottom - height, 0)
    x1, y1 = min(left + width, canvas.shape[1]), min(bottom, canvas.shape[0])
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1] = image[
            y0 - bottom + height : y1 - bottom + height, x0 - left : x1 - left
        ]


def ground(
    rng: np.random.Generator,
    camera: Camera,
    width: int,
    rows: int,
    first: int,
    kind: str | None = None,
) -> np.ndarray:
    """Ground of rows ``first`` to ``first + rows`` in perspective, ``(rows, width, 3)``.

    Args:
        kind (str | None): 'tiles', 'planks', 'asphalt', 'grass', 'checks' or any (None).
    """
    if kind is None:
        kind = ('tiles', 'planks', 'asphalt', 'checks')[rng.choice(4, p=(0.4, 0.15, 0.3, 0.15))]
    base = _any(rng, _FLOORS) if kind != 'grass' else _any(rng, ((56, 112, 92), (50, 96, 100)))
    ys = np.arange(first, first + rows, dtype=np.float32)[:, None]
    scale = np.maximum(ys - camera.horizon, 1.0) / camera.above
    x = (np.arange(width, dtype=np.float32)[None] - camera.center) / scale
    z = np.broadcast_to(camera.focal / scale, x.shape)
    angle = rng.uniform(0, np.pi / 2) if rng.random() < 0.5 else 0.0
    u = x * np.cos(angle) + z * np.sin(angle)
    v = z * np.cos(angle) - x * np.sin(angle)
    tile = rng.uniform(0.4, 1.6)
    sharp = np.clip((scale * tile - 4) / 24, 0, 1)  # patterns melt in the distance
    value = np.ones((rows, width), np.float32)
    if kind == 'tiles':
        joint = np.maximum(0.03, 0.8 / np.maximum(scale * tile, 1))
        lines = ((u / tile) % 1 < joint) | ((v / tile) % 1 < joint)
        cells = np.floor(u / tile).astype(np.int32) * 73 + np.floor(v / tile).astype(np.int32) * 151
        value += sharp * (((cells * cells % 17) / 17 - 0.5) * rng.uniform(0, 0.25) - 0.22 * lines)
    elif kind == 'checks':
        parity = (np.floor(u / tile) + np.floor(v / tile)) % 2
        value += sharp * (parity - 0.5) * rng.uniform(0.15, 0.6)
    elif kind == 'planks':
        cells = np.floor(u / (tile * 0.3)).astype(np.int32)
        value += sharp * ((cells * cells * 7 % 13) / 13 - 0.5) * 0.3
    image = np.clip(base * value[..., None], 0, 255).astype(np.uint8)
    if kind == 'asphalt' and rng.random() < 0.6:
        white = (u / rng.uniform(3, 6)) % 1 < 0.045
        if rng.random() < 0.6:
            white &= (v / 4) % 1 < 0.5
        elif rng.random() < 0.5:
            white = ((u / 1.0) % 1 < 0.5) & ((v / rng.uniform(12, 25)) % 1 < 0.2)
        image[white] = np.clip(base + 90, 0, 235)
    _mottle(image, rng, max(16.0, rows * rng.uniform(0.1, 0.5)), rng.uniform(0.03, 0.16))
    if kind in ('asphalt', 'grass'):
        grain = rng.integers(0, 40, image.shape[:2], dtype=np.uint8)
        image = cv2.subtract(cv2.add(image, cv2.merge([grain] * 3)), (20, 20, 20, 0))
    return image


def _trees(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a wood seen from outside."""
    leaves = noise(rng, width, height, height * 0.4, 5)
    green = _any(rng, ((40, 90, 60), (50, 100, 90), (40, 70, 50), (50, 110, 150)))
    return np.clip(green * (1 + leaves[..., None] * 0.9), 0, 255).astype(np.uint8)


def _street(rng, canvas, camera, base, metre):
    width = canvas.shape[1]
    canvas[:base] = _sky(rng, width, max(base, 1))[:base]
    x = -int(rng.uniform(0, 60))
    while x < width:
        span = int(rng.uniform(5, 16) * metre)
        tall = int(min(rng.uniform(5, 22) * metre, 3 * canvas.shape[0]))
        if rng.random() < 0.82:
            _paste(canvas, facade(rng, max(span, 8), max(tall, 12), metre), x, base)
        else:
            _paste(canvas, _trees(rng, max(span, 8), max(tall // 2, 12)), x, base)
        x += span
    for side in (-1, 1):
        if rng.random() < 0.4:
            _side_wall(rng, canvas, camera, side, metre)


def _side_wall(rng, canvas, camera, side, metre):
    """Draw a row of houses that recedes from the viewer."""
    height, width = canvas.shape[:2]
    away = side * rng.uniform(3.5, 8.0)  # metres beside the camera
    near, tall = metre * 7, rng.uniform(5, 12)
    image = facade(rng, 640, 300, 300 / tall)
    corners = []
    for scale, top in ((near, tall), (metre, tall), (metre, 0), (near, 0)):
        corners.append((camera.center + away * scale, camera.row(scale) - top * scale))
    source = np.array([[0, 0], [639, 0], [639, 299], [0, 299]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, np.array(corners, np.float32))
    warped = cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    where = np.zeros((height, width), np.uint8)
    cv2.fillPoly(where, [np.rint(np.clip(corners, -30000, 30000)).astype(np.int32)], 1)
    cv2.copyTo(warped, where, canvas)


def _park(rng, canvas, camera, base, metre):
    width = canvas.shape[1]
    canvas[:base] = _sky(rng, width, max(base, 1))[:base]
    tall = int(rng.uniform(3, 12) * metre)
    wood = _trees(rng, width, max(tall, 8))
    edge = noise(rng, width, 1, 60, 4)[0] * 0.6 + 0.3
    tall = min(wood.shape[0], base)
    inside = np.arange(wood.shape[0])[:, None] >= wood.shape[0] * np.clip(edge, 0, 0.8)[None]
    inside, wood = inside[-tall:], wood[-tall:]
    canvas[base - tall : base][inside] = wood[inside]


def _hall(rng, canvas, camera, base, metre):
    height, width = canvas.shape[:2]
    tall = int(min(rng.uniform(3, 8) * metre, 3 * height))
    image = _flat(_any(rng, _WALLS), width, max(tall, 8))
    _mottle(image, rng, 90, 0.2)
    x = 0.0
    while x < width:
        span, kind = rng.uniform(0.8, 4) * metre, rng.random()
        y1 = tall - (0 if kind < 0.5 else int(rng.uniform(0.6, 1.4) * metre))
        y0 = max(0, y1 - int(rng.uniform(1.0, 2.4) * metre))
        p, q = (int(x), y0), (int(x + span), y1)
        cv2.rectangle(
            image, p, q, tuple(float(v) for v in cloth_color(rng) * rng.uniform(0.5, 1)), -1
        )
        if kind < 0.3:  # shelves
            for y in np.arange(y0, y1, max(4.0, 0.4 * metre)):
                for gx in np.arange(x, x + span, max(3.0, rng.uniform(0.12, 0.4) * metre)):
                    cv2.rectangle(
                        image,
                        (int(gx), int(y + 0.1 * metre)),
                        (int(gx + 0.1 * metre), int(y + 0.36 * metre)),
                        tuple(float(v) for v in cloth_color(rng)),
                        -1,
                    )
        elif kind > 0.6:
            cv2.rectangle(image, p, q, (40, 40, 40), max(1, int(0.05 * metre)))
            if rng.random() < 0.5:
                middle = (p[0] + q[0]) // 2, (p[1] + q[1]) // 2
                cv2.circle(
                    image,
                    middle,
                    max(2, int(0.3 * metre)),
                    tuple(float(v) for v in cloth_color(rng)),
                    -1,
                    cv2.LINE_AA,
                )
        x += span + rng.uniform(0.2, 2.5) * metre
    ceiling = base - tall
    if ceiling > 0:
        canvas[:ceiling] = np.clip(_any(rng, _WALLS) * 1.1, 0, 255).astype(np.uint8)
        rows = np.arange(ceiling)
        for k in range(1, 9):  # rows of lamps that meet at the horizon
            y = int(ceiling * (1 - 0.75**k * 0.98))
            if y < ceiling - 2:
                half = max(2, int((ceiling - y) * 0.35))
                for x in range(-4, 5):
                    cx = int(camera.center + x * (camera.horizon - y) * 1.6)
                    cv2.rectangle(
                        canvas,
                        (cx - half, y),
                        (cx + half, min(y + max(2, half // 4), len(rows) - 1)),
                        (235, 240, 245),
                        -1,
                    )
    _paste(canvas, image, 0, base)


def _stands(rng, canvas, camera, base, metre):
    """Draw a market: stalls with striped roofs in front of trees or houses."""
    (_park if rng.random() < 0.5 else _street)(rng, canvas, camera, base, metre)
    x = -metre
    while x < canvas.shape[1]:
        span, tall = rng.uniform(2, 4) * metre, rng.uniform(2.2, 3) * metre
        a, b = cloth_color(rng), cloth_color(rng) if rng.random() < 0.4 else (225, 228, 230)
        shade = tuple(float(v) for v in cloth_color(rng) * 0.45)
        cv2.rectangle(canvas, (int(x), int(base - tall)), (int(x + span), base), shade, -1)
        for _ in range(12):
            gx, gy = rng.uniform(x, x + span), base - rng.uniform(0.2, 1.4) * metre
            cv2.circle(
                canvas,
                (int(gx), int(gy)),
                max(1, int(rng.uniform(0.06, 0.2) * metre)),
                tuple(float(v) for v in cloth_color(rng)),
                -1,
                cv2.LINE_AA,
            )
        strips = 8
        for k in range(strips):
            x0, x1 = x + span * k / strips, x + span * (k + 1) / strips
            roof = np.array(
                [
                    [x0, base - tall * 1.15],
                    [x1, base - tall * 1.15],
                    [x1, base - tall * 0.85],
                    [x0, base - tall * 0.85],
                ]
            )
            cv2.fillPoly(canvas, [roof.astype(np.int32)], tuple(float(v) for v in (a, b)[k % 2]))
        x += span + rng.uniform(0, 2.5) * metre


_PLACES: dict[str, Callable] = {'street': _street, 'park': _park, 'hall': _hall, 'market': _stands}
PLACES = tuple(_PLACES)


def paint_place(
    rng: np.random.Generator, camera: Camera, width: int, height: int, metre: float, place: str
) -> np.ndarray:
    """Draw a background without people.

    Args:
        rng (np.random.Generator): Decides everything else.
        camera (Camera): The camera.
        width (int): Width of the image.
        height (int): Height of the image.
        metre (float): Pixels a metre where the ground ends at walls, houses or trees.
        place (str): One of ``PLACES``.

    Returns:
        np.ndarray: ``(height, width, 3)`` BGR.
    """
    base = int(np.clip(camera.row(metre), 0, height))
    canvas = np.zeros((height, width, 3), np.uint8)
    if base < height:
        kind = None
        if place == 'park' and rng.random() < 0.7:
            kind = 'grass'
        elif place == 'hall':
            kind = ('tiles', 'planks', 'checks')[rng.integers(3)]
        canvas[base:] = ground(rng, camera, width, height - base, base, kind)
    if base > 0:
        _PLACES[place](rng, canvas, camera, base, metre)
    return canvas
