"""Textures for flat colors: cloth, plaster, stone."""

import cv2
import numpy as np

from .figure import Sprite


def dead_leaves(
    rng: np.random.Generator, width: int, height: int, colors: np.ndarray, count: int = 160
) -> np.ndarray:
    """Draw overlapping shapes of all sizes, with the statistics of natural images.

    The dead leaves model (Ruderman 1997; Lee, Mumford, Huang 2001): sizes follow a power law,
    every shape hides what lies under it.

    Args:
        rng (np.random.Generator): Decides everything else.
        width (int): Width.
        height (int): Height.
        colors (np.ndarray): ``(n, 3)`` BGR to choose from.
        count (int): Number of shapes.

    Returns:
        np.ndarray: ``(height, width, 3)`` uint8.
    """
    least, most = 2.5, 0.4 * max(width, height) + 3
    inverse = rng.random(count) * (least**-2 - most**-2) + most**-2
    sizes = np.sort(1 / np.sqrt(inverse))[::-1]
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.clip(colors[rng.integers(len(colors))], 0, 255)
    which = rng.integers(0, len(colors), count)
    tones = np.clip(colors[which] * rng.uniform(0.6, 1.4, (count, 1)), 0, 255)
    centers = rng.random((count, 2)) * (width, height)
    stretch = np.exp(rng.normal(0, 0.6, count))
    kinds, angles = rng.random(count), rng.uniform(0, 180, count)
    for k in range(count):
        axes = sizes[k] * stretch[k], sizes[k] / stretch[k]
        color = tuple(float(v) for v in tones[k])
        place = tuple(float(v) for v in centers[k])
        if kinds[k] < 0.4:
            axes = tuple(max(1, int(min(a, 4 * most))) for a in axes)
            place = tuple(int(v) for v in place)
            cv2.ellipse(image, place, axes, angles[k], 0, 360, color, -1)
        else:
            angle = 0.0 if kinds[k] < 0.75 else float(angles[k])
            corners = cv2.boxPoints((place, tuple(float(2 * a) for a in axes), angle))
            cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], color)
    return image


def add_texture(rng: np.random.Generator, sprite: Sprite, strength: float) -> Sprite:
    """Add uneven light, stains and grain to a sprite, and sometimes soften its rim.

    Args:
        rng (np.random.Generator): Decides how.
        sprite (Sprite): What to change; its alpha stays where it is not softened.
        strength (float): At most this strong; 0 changes nothing, 1 is strong.
    """
    height, width = sprite.alpha.shape
    strength = strength * rng.uniform(0.2, 1.0)
    coarse = rng.random((height // 16 + 2, width // 10 + 2), np.float32) - 0.5
    fine = rng.random((height // 2 + 2, width // 2 + 2), np.float32) - 0.5
    field = 0.7 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    field += 0.5 * cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(rng.normal(0, 0.25))
    down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(rng.normal(0, 0.2))
    field = np.clip(1 + strength * (field + across + down[:, None]), 0.15, 2.2)
    color = cv2.multiply(sprite.color, cv2.merge([field] * 3), dtype=cv2.CV_8U)
    gray = cv2.merge([cv2.cvtColor(color, cv2.COLOR_BGR2GRAY)] * 3)
    vivid = 1 - strength * rng.uniform(0, 0.75)
    color = cv2.addWeighted(color, vivid, gray, 1 - vivid, 0)
    color, alpha = cv2.min(color, cv2.merge([sprite.alpha] * 3)), sprite.alpha
    if rng.random() < 0.6 * strength:
        sigma = rng.uniform(0.3, 0.8)
        color = cv2.GaussianBlur(color, (3, 3), sigma)
        alpha = cv2.GaussianBlur(alpha, (3, 3), sigma)
    return Sprite(color, alpha, sprite.left, sprite.top)
