"""Objects among people: street furniture, plants and look-alikes."""

from collections.abc import Callable

import numpy as np

from .figure import Figure, box, capsule, ellipse
from .people import cloth_color

Maker = Callable[[np.random.Generator, Figure], None]

_METAL = ((60, 62, 64), (96, 98, 100), (40, 44, 40), (140, 142, 142), (60, 84, 60), (36, 36, 70))


def _metal(rng: np.random.Generator, fig: Figure) -> int:
    color = np.array(_METAL[rng.integers(len(_METAL))]) * rng.uniform(0.8, 1.25)
    return fig.material(color)


def _lamp_post(rng, fig):
    iron, glass = _metal(rng, fig), fig.material((190, 215, 225))
    tall = rng.uniform(2.6, 4.6)
    fig.limb((0, 0), (0, 0.5), 0.09, 0.06, iron)
    fig.limb((0, 0.4), (0, tall), 0.05, 0.04, iron)
    if rng.random() < 0.6:
        fig.ball((0, tall + 0.12), 0.17, 0.19, glass)
    else:
        fig.limb((0, tall), (rng.choice([-1, 1]) * 0.8, tall + 0.15), 0.035, 0.05, iron)


def _bollard(rng, fig):
    tall, r = rng.uniform(0.7, 1.15), rng.uniform(0.07, 0.16)
    post = _metal(rng, fig)
    fig.limb((0, 0), (0, tall), r, r * 0.9, post)
    fig.add(box(-r, tall * 0.75, r, tall * 0.85), fig.material(cloth_color(rng)), 124)
    if rng.random() < 0.5:
        fig.ball((0, tall + r * 0.8), r * 1.05, r * 1.05, post)


def _bin(rng, fig):
    tall, r = rng.uniform(0.8, 1.2), rng.uniform(0.22, 0.36)
    body = fig.material(cloth_color(rng))
    fig.slab(np.array([[-r * 0.85, 0], [r * 0.85, 0], [r, tall], [-r, tall]]), body)
    fig.add(ellipse((0, tall), r * 1.06, r * 0.3), body, 84)
    fig.add(box(-r * 0.5, tall * 0.6, r * 0.5, tall * 0.75), None, 60)


def _sign(rng, fig):
    pole, tall = _metal(rng, fig), rng.uniform(1.9, 2.8)
    face, other = fig.material(cloth_color(rng)), fig.material((225, 225, 225))
    fig.limb((0, 0), (0, tall), 0.035, 0.035, pole)
    r = rng.uniform(0.2, 0.34)
    if rng.random() < 0.5:
        fig.add(ellipse((0, tall), r, r), face, 128)
        fig.add(ellipse((0, tall), r * 0.7, r * 0.7), other, 126)
    else:
        fig.add(box(-r, tall - r, r, tall + r * 1.3), face, 126)
        fig.add(box(-r * 0.7, tall - r * 0.4, r * 0.7, tall - r * 0.1), other, 126)


def _meter(rng, fig):
    gray = _metal(rng, fig)
    tall = rng.uniform(1.15, 1.5)
    fig.limb((0, 0), (0, tall), 0.045, 0.045, gray)
    fig.limb((0, tall), (0, tall + 0.26), 0.13, 0.13, gray)
    fig.add(box(-0.07, tall + 0.13, 0.07, tall + 0.24), fig.material((150, 180, 160)), 126)


def _hydrant(rng, fig):
    red = fig.material((40, 40, 190) if rng.random() < 0.6 else (40, 180, 220))
    fig.limb((0, 0), (0, 0.6), 0.15, 0.13, red)
    fig.limb((-0.2, 0.42), (0.2, 0.42), 0.06, 0.06, red)
    fig.ball((0, 0.68), 0.14, 0.11, red)


def _cone(rng, fig):
    orange, white = fig.material((30, 100, 235)), fig.material((230, 230, 230))
    tall = rng.uniform(0.5, 0.9)
    fig.add(box(-0.26, 0, 0.26, 0.05), orange, 92)
    fig.slab(np.array([[-0.18, 0.05], [0.18, 0.05], [0.03, tall], [-0.03, tall]]), orange)
    fig.add(
        np.array(
            [[-0.12, tall * 0.4], [0.12, tall * 0.4], [0.08, tall * 0.65], [-0.08, tall * 0.65]]
        ),
        white,
        120,
    )


def _coat_rack(rng, fig):
    """Draw coats on a pole: clothes without a person."""
    pole = _metal(rng, fig)
    tall = rng.uniform(1.5, 1.9)
    for sign in (-1, 1):
        fig.limb((0, 0.08), (sign * 0.25, 0), 0.025, 0.02, pole)
    fig.limb((0, 0), (0, tall), 0.025, 0.025, pole)
    for _ in range(rng.integers(1, 4)):
        coat = fig.material(cloth_color(rng), cloth=True)
        x, w, fall = rng.uniform(-0.22, 0.22), rng.uniform(0.14, 0.22), rng.uniform(0.6, 1.1)
        y = tall - rng.uniform(0, 0.15)
        fig.slab(
            np.array(
                [
                    [x - 0.05, y],
                    [x + 0.05, y],
                    [x + w, y - 0.16],
                    [x + w * 1.2, y - fall],
                    [x - w * 1.2, y - fall],
                    [x - w, y - 0.16],
                ]
            ),
            coat,
        )


def _clothes_rail(rng, fig):
    pole = _metal(rng, fig)
    wide, tall = rng.uniform(0.7, 1.2), rng.uniform(1.4, 1.7)
    for sign in (-1, 1):
        fig.limb((sign * wide, 0), (sign * wide, tall), 0.02, 0.02, pole)
    fig.limb((-wide, tall), (wide, tall), 0.02, 0.02, pole)
    for x in np.arange(-wide + 0.12, wide - 0.08, rng.uniform(0.13, 0.24)):
        cloth = fig.material(cloth_color(rng), cloth=True)
        w, fall = rng.uniform(0.09, 0.16), rng.uniform(0.6, 1.15)
        fig.slab(
            np.array(
                [
                    [x - 0.03, tall],
                    [x + 0.03, tall],
                    [x + w, tall - 0.1],
                    [x + w, tall - fall],
                    [x - w, tall - fall],
                    [x - w, tall - 0.1],
                ]
            ),
            cloth,
        )


def _barrel(rng, fig):
    body = fig.material(cloth_color(rng))
    tall, r = rng.uniform(0.8, 1.3), rng.uniform(0.2, 0.34)
    fig.slab(
        np.array(
            [
                [-r * 0.85, 0],
                [r * 0.85, 0],
                [r, tall * 0.5],
                [r * 0.85, tall],
                [-r * 0.85, tall],
                [-r, tall * 0.5],
            ]
        ),
        body,
    )
    for y in (0.2, 0.8):
        fig.add(box(-r * 0.93, tall * y, r * 0.93, tall * (y + 0.05)), None, 70)


def _planter(rng, fig):
    pot, green = fig.material(cloth_color(rng) * 0.8), (45, 95, 60)
    wide, tall = rng.uniform(0.25, 0.7), rng.uniform(0.35, 0.6)
    _leaves(rng, fig, (0, tall + 0.25), wide, rng.uniform(0.25, 0.5), green, 60)
    fig.slab(np.array([[-wide * 0.8, 0], [wide * 0.8, 0], [wide, tall], [-wide, tall]]), pot)


def _leaves(rng, fig, center, rx, ry, green, count):
    shades = [
        fig.material(np.clip(np.array(green) * rng.uniform(0.6, 1.5, 3), 0, 255)) for _ in range(4)
    ]
    for _ in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        x = center[0] + rx * reach * np.cos(angle)
        y = center[1] + ry * reach * np.sin(angle)
        r = rng.uniform(0.09, 0.24) * min(rx, ry)
        tone = int(np.clip(128 + 30 * (y - center[1]) / ry + rng.normal(0, 12), 70, 180))
        fig.add(ellipse((x, max(y, r)), r * 1.2, r), shades[rng.integers(4)], tone)


def _tree(rng, fig):
    bark = fig.material(np.array((50, 64, 84)) * rng.uniform(0.6, 1.2))
    tall, crown = rng.uniform(1.8, 3.2), rng.uniform(0.9, 1.9)
    r = rng.uniform(0.09, 0.22)
    fig.limb((0, 0), (rng.normal(0, 0.1), tall), r, r * 0.7, bark)
    for sign in (-1, 1):
        fig.limb((0, tall * 0.75), (sign * crown * 0.5, tall + crown * 0.3), r * 0.5, r * 0.3, bark)
    green = np.array((40, 100, 70)) * rng.uniform(0.6, 1.4) + rng.normal(0, 10, 3)
    _leaves(rng, fig, (0, tall + crown * 0.7), crown, crown * 0.8, np.clip(green, 10, 220), 110)


def _cypress(rng, fig):
    """Draw a narrow clipped tree as tall as a person."""
    tall = rng.uniform(1.3, 2.2)
    pot = fig.material(cloth_color(rng) * 0.7)
    _leaves(rng, fig, (0, tall * 0.6), rng.uniform(0.2, 0.34), tall * 0.42, (40, 85, 50), 150)
    fig.slab(np.array([[-0.18, 0], [0.18, 0], [0.24, 0.36], [-0.24, 0.36]]), pot)


def _board(rng, fig):
    """Draw a board on the pavement or an advertising pillar."""
    w, tall = rng.uniform(0.25, 0.5), rng.uniform(0.9, 2.1)
    fig.slab(box(-w, 0, w, tall), _metal(rng, fig))
    back = fig.material(cloth_color(rng))
    fig.add(box(-w * 0.85, tall * 0.15, w * 0.85, tall * 0.95), back, 126)
    ink = fig.material(cloth_color(rng))
    for y in np.arange(0.3, 0.9, rng.uniform(0.1, 0.25)):
        right = rng.uniform(-0.2, 0.75) * w
        fig.add(box(-w * 0.7, tall * y, right, tall * (y + 0.05)), ink, 126)
    if rng.random() < 0.4:
        fig.add(ellipse((0, tall * 0.6), w * 0.5, w * 0.5), fig.material(cloth_color(rng)), 126)


def _parasol(rng, fig):
    pole, canopy = _metal(rng, fig), fig.material(cloth_color(rng))
    tall, wide = rng.uniform(2.0, 2.5), rng.uniform(0.3, 1.3)
    if wide < 0.5:  # closed
        fig.limb((0, 0), (0, 0.8), 0.03, 0.03, pole)
        fig.slab(
            np.array(
                [
                    [-0.06, tall],
                    [0.06, tall],
                    [wide * 0.5, tall - 0.6],
                    [0.08, 0.7],
                    [-0.08, 0.7],
                    [-wide * 0.5, tall - 0.6],
                ]
            ),
            canopy,
        )
    else:
        fig.limb((0, 0), (0, tall), 0.03, 0.03, pole)
        fig.slab(np.array([[0, tall + 0.3], [wide, tall - 0.15], [-wide, tall - 0.15]]), canopy)


def _bench(rng, fig):
    wood = fig.material(np.array((70, 100, 140)) * rng.uniform(0.6, 1.2))
    wide = rng.uniform(0.6, 1.1)
    iron = _metal(rng, fig)
    for sign in (-1, 1):
        fig.limb((sign * wide * 0.85, 0), (sign * wide * 0.85, 0.85), 0.03, 0.025, iron)
    for y in (0.42, 0.6, 0.74):
        fig.limb((-wide, y), (wide, y), 0.05, 0.05, wood)


def _car(rng, fig):
    paint, glass = fig.material(cloth_color(rng)), fig.material((96, 84, 72))
    tyre, light = fig.material((28, 28, 28)), fig.material((200, 220, 230))
    front = rng.random() < 0.4
    if front:
        fig.slab(box(-0.88, 0.25, 0.88, 0.95), paint)
        fig.slab(np.array([[-0.82, 0.9], [0.82, 0.9], [0.62, 1.45], [-0.62, 1.45]]), paint)
        fig.add(np.array([[-0.72, 0.95], [0.72, 0.95], [0.56, 1.38], [-0.56, 1.38]]), glass, 130)
        for sign in (-1, 1):
            fig.add(box(sign * 0.78 - 0.1, 0, sign * 0.78 + 0.1, 0.3), tyre, 120)
            fig.ball((sign * 0.68, 0.68), 0.14, 0.09, light)
        fig.add(box(-0.4, 0.45, 0.4, 0.62), None, 60)
        return
    fig.slab(
        np.array(
            [
                [-2.1, 0.3],
                [2.1, 0.3],
                [2.1, 0.75],
                [1.3, 0.9],
                [0.75, 1.4],
                [-0.95, 1.42],
                [-1.6, 0.95],
                [-2.1, 0.85],
            ]
        ),
        paint,
    )
    fig.add(np.array([[-1.4, 0.93], [-0.1, 0.93], [-0.1, 1.34], [-0.9, 1.34]]), glass, 132)
    fig.add(np.array([[0, 0.93], [1.15, 0.93], [0.68, 1.33], [0, 1.34]]), glass, 132)
    for x in (-1.3, 1.3):
        fig.add(ellipse((x, 0.33), 0.34, 0.33), tyre, 110)
        fig.ball((x, 0.33), 0.19, 0.19, light, tone=-20)


def _bicycle(rng, fig):
    frame, tyre = fig.material(cloth_color(rng)), fig.material((34, 34, 34))
    for x in (-0.5, 0.5):
        ring = ellipse((x, 0.34), 1, 1) - (x, 0.34)
        for a, b in zip(ring, np.roll(ring, 1, 0), strict=True):
            fig.add(
                capsule(
                    (x + a[0] * 0.32, 0.34 + a[1] * 0.32),
                    (x + b[0] * 0.32, 0.34 + b[1] * 0.32),
                    0.018,
                    0.018,
                ),
                tyre,
                110,
            )
    joints = {
        'a': (-0.5, 0.34),
        'b': (0.0, 0.34),
        'c': (-0.15, 0.85),
        'd': (0.38, 0.82),
        'e': (0.5, 0.34),
        'f': (0.34, 1.0),
    }
    for p, q in ('ab', 'bc', 'ac', 'cd', 'bd', 'de', 'df'):
        fig.limb(joints[p], joints[q], 0.022, 0.022, frame)
    fig.limb((-0.25, 0.92), (-0.05, 0.92), 0.035, 0.03, tyre)


def _barrier(rng, fig):
    bar, wide = _metal(rng, fig), rng.uniform(0.9, 1.4)
    for x in np.arange(-wide, wide + 0.01, 0.18):
        fig.add(box(x - 0.012, 0.18, x + 0.012, 1.0), bar, 126)
    for y in (0.18, 1.0):
        fig.limb((-wide, y), (wide, y), 0.025, 0.025, bar)
    for sign in (-1, 1):
        fig.limb((sign * wide * 0.8, 0), (sign * wide * 0.8, 0.2), 0.03, 0.03, bar)


def _suitcases(rng, fig):
    for x in np.arange(rng.integers(1, 4)) * 0.4 - 0.3:
        color = fig.material(cloth_color(rng))
        w, tall = rng.uniform(0.14, 0.22), rng.uniform(0.45, 0.75)
        fig.limb((x, tall), (x, tall + 0.3), 0.012, 0.012, _metal(rng, fig))
        fig.slab(box(x - w, 0.04, x + w, tall), color)


def _balloons(rng, fig):
    """Draw head-sized balls on sticks."""
    for _ in range(rng.integers(1, 5)):
        x, y = rng.normal(0, 0.3), rng.uniform(1.3, 2.1)
        fig.limb((0, 0.7), (x, y), 0.008, 0.008, _metal(rng, fig))
        fig.ball((x, y + 0.14), 0.13, 0.17, fig.material(cloth_color(rng)))
    fig.limb((0, 0), (0, 0.75), 0.09, 0.07, _metal(rng, fig))


def _stand(rng, fig):
    """Draw a machine with a person's outline: two legs, a body and a round top."""
    steel, front = _metal(rng, fig), fig.material(cloth_color(rng))
    w = rng.uniform(0.16, 0.26)
    for sign in (-1, 1):
        fig.limb((sign * w * 0.7, 0), (sign * w * 0.6, 0.75), 0.04, 0.05, steel)
    fig.slab(box(-w, 0.65, w, rng.uniform(1.2, 1.45)), front)
    fig.add(box(-w * 0.6, 0.95, w * 0.6, 1.1), None, 70)
    fig.limb((0, 1.3), (0, 1.55), 0.03, 0.03, steel)
    fig.ball((0, rng.uniform(1.55, 1.7)), 0.13, 0.13, fig.material((190, 200, 205)))


LOOKALIKES: dict[str, Maker] = {
    'lamp_post': _lamp_post,
    'bollard': _bollard,
    'bin': _bin,
    'sign': _sign,
    'meter': _meter,
    'hydrant': _hydrant,
    'coat_rack': _coat_rack,
    'clothes_rail': _clothes_rail,
    'barrel': _barrel,
    'cypress': _cypress,
    'board': _board,
    'parasol': _parasol,
    'balloons': _balloons,
    'stand': _stand,
}
FURNITURE: dict[str, Maker] = {
    'cone': _cone,
    'planter': _planter,
    'tree': _tree,
    'bench': _bench,
    'car': _car,
    'bicycle': _bicycle,
    'barrier': _barrier,
    'suitcases': _suitcases,
}
INDOOR = frozenset(
    (
        'bin',
        'sign',
        'coat_rack',
        'clothes_rail',
        'barrel',
        'cypress',
        'board',
        'balloons',
        'stand',
        'planter',
        'bench',
        'barrier',
        'suitcases',
    )
)


def make_clutter(
    rng: np.random.Generator, lookalike: bool, indoor: bool, light: float = 0.0
) -> tuple[str, Figure]:
    """Draw an object that is no person, in metres; return its name and figure."""
    kinds = LOOKALIKES if lookalike else FURNITURE
    names = [n for n in kinds if not indoor or n in INDOOR]
    name = names[rng.integers(len(names))]
    figure = Figure(light)
    kinds[name](rng, figure)
    return name, figure


def make_poster(rng: np.random.Generator, figure: Figure, person: Figure) -> None:
    """Draw a standing frame that shows a person; both figures are added to ``figure``."""
    figure.slab(box(-0.36, 0.0, 0.36, 1.24), _metal(rng, figure))
    figure.add(box(-0.32, 0.05, 0.32, 1.2), figure.material(cloth_color(rng)), 126)
    figure.paste(person, 1.0, (0, 0.1))


def make_statue(rng: np.random.Generator, figure: Figure, person: Figure) -> None:
    """Draw a statue: a person of one material on a pedestal."""
    color = np.array((120, 130, 132)) if rng.random() < 0.6 else np.array((70, 92, 84))
    stone = color * rng.uniform(0.6, 1.3)
    figure.slab(box(-0.24, 0.0, 0.24, 0.5), figure.material(stone * 0.9))
    figure.slab(box(-0.28, 0.44, 0.28, 0.52), figure.material(stone))
    figure.paste(person, 1.0, (0, 0.5), stone)
