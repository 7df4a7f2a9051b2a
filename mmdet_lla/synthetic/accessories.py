"""Accessories in front of people, such as prams and bicycles; they are no part of a box."""

from collections.abc import Callable

import numpy as np

from .clutter import _bicycle, _metal, _suitcases
from .figure import Figure, box, ellipse
from .people import cloth_color


def _pram(rng, fig):
    cloth, dark, iron = (
        fig.material(cloth_color(rng)),
        fig.material((30, 30, 32)),
        _metal(rng, fig),
    )
    side = 1 if rng.random() < 0.5 else -1
    for x in (-0.28, 0.28):
        fig.ball((x, 0.14), 0.14, 0.14, dark)
    fig.limb((-0.28 * side, 0.2), (0.5 * side, 1.0), 0.02, 0.02, iron)
    fig.slab(np.array([[-0.4, 0.35], [0.36, 0.35], [0.42, 0.7], [-0.42, 0.7]]), cloth)
    hood = ellipse((-0.16 * side, 0.72), 0.3, 0.3)
    fig.slab(hood, cloth)


def _trolley(rng, fig):
    iron = _metal(rng, fig)
    for x in (-0.3, 0.3):
        fig.ball((x, 0.07), 0.07, 0.07, fig.material((40, 40, 40)))
    for x in np.arange(-0.4, 0.41, 0.1):
        fig.add(box(x - 0.01, 0.3, x + 0.01, 0.95), iron, 128)
    for y in (0.3, 0.6, 0.95):
        fig.limb((-0.42, y), (0.42, y), 0.018, 0.018, iron)
    if rng.random() < 0.6:
        fig.slab(
            box(-0.3, 0.32, rng.uniform(0, 0.3), rng.uniform(0.5, 0.9)),
            fig.material(cloth_color(rng)),
        )


def _dog(rng, fig):
    coat = fig.material(np.array((60, 90, 130)) * rng.uniform(0.3, 1.6))
    side = 1 if rng.random() < 0.5 else -1
    for x in (-0.22, -0.14, 0.16, 0.24):
        fig.limb((x, 0.3), (x, 0.0), 0.04, 0.03, coat)
    fig.limb((-0.24, 0.38), (0.24, 0.4), 0.12, 0.12, coat)
    fig.ball((0.36 * side, 0.56), 0.11, 0.1, coat)
    fig.limb((-0.28 * side, 0.42), (-0.45 * side, 0.6), 0.03, 0.02, coat)


_KINDS: tuple[Callable, ...] = (_pram, _trolley, _dog, _bicycle, _suitcases)


def make_accessory(rng: np.random.Generator, light: float = 0.0) -> Figure:
    """Draw a pram, trolley, dog, bicycle or luggage, in metres."""
    figure = Figure(light)
    _KINDS[rng.integers(len(_KINDS))](rng, figure)
    return figure
