"""Effects of light, weather and camera on a finished image, off by default."""

import cv2
import numpy as np

from .params import CrowdParams


def develop(rng: np.random.Generator, image: np.ndarray, params: CrowdParams) -> np.ndarray:
    """Apply light, weather and camera effects, each to its fraction of images.

    Args:
        rng (np.random.Generator): Asked only for what ``params`` switch on.
        image (np.ndarray): ``(h, w, 3)`` BGR.
        params (CrowdParams): ``shade``, ``night``, ``rain``, ``veil``, ``colorfulness``,
            ``motion_blur``, ``defocus``, ``sharpen`` and ``recompress``.

    Returns:
        np.ndarray: ``(h, w, 3)`` BGR.
    """
    for name, change in (
        ('shade', _shade),
        ('night', _night),
        ('rain', _rain),
        ('veil', _veil),
    ):
        if getattr(params, name) and rng.random() < getattr(params, name):
            image = change(rng, image)
    low, high = params.colorfulness
    if (low, high) != (1.0, 1.0):
        image = saturate(image, rng.uniform(low, high))
    for name, change in (
        ('defocus', _defocus),
        ('motion_blur', _motion_blur),
        ('sharpen', _sharpen),
        ('recompress', _recompress),
    ):
        if getattr(params, name) and rng.random() < getattr(params, name):
            image = change(rng, image)
    return image


def saturate(image: np.ndarray, factor: float) -> np.ndarray:
    """Pull colors toward gray (below 1) or away from it, ``(h, w, 3)`` uint8."""
    gray = cv2.merge([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)] * 3)
    return cv2.addWeighted(image, factor, gray, 1 - factor, 0)


def _times(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    return cv2.multiply(image, cv2.merge([field] * 3), dtype=cv2.CV_8U)


def _shade(rng, image):
    """Draw shadows of roofs and houses: straight edges, dark or bright on either side."""
    height, width = image.shape[:2]
    field = np.ones((height, width), np.float32)
    for _ in range(rng.integers(1, 5)):
        if rng.random() < 0.5:  # all that lies beyond a line
            angle, reach = rng.uniform(0, 2 * np.pi), 2.0 * (height + width)
            along = np.array([np.cos(angle), np.sin(angle)])
            across = np.array([-along[1], along[0]])
            start = rng.random(2) * (width, height)
            corners = [start - along * reach, start + along * reach]
            corners += [c + across * reach for c in corners[::-1]]
        else:  # a patch with four corners, such as a doorway or a window's light
            x0, y0 = rng.random(2) * (width, height) - (0.1 * width, 0.1 * height)
            w, h = rng.uniform(0.15, 0.7, 2) * (width, height)
            lean = rng.normal(0, 0.3) * h
            corners = [(x0, y0), (x0 + w, y0), (x0 + w + lean, y0 + h), (x0 + lean, y0 + h)]
        patch = np.ones_like(field)
        gain = float(np.exp(rng.uniform(np.log(0.4), np.log(1.35))))
        cv2.fillPoly(patch, [np.rint(corners).astype(np.int32)], gain)
        field *= patch
    field = cv2.blur(field, (int(rng.integers(1, 40)),) * 2)
    image = _times(image, np.clip(field, 0.25, 1.6))
    gain = rng.uniform(70, 140) / max(float(image.mean()), 20.0)  # the camera exposes for the mean
    return cv2.convertScaleAbs(image, alpha=float(np.clip(gain, 0.6, 3.0)))


def _night(rng, image):
    """Darken the image, with pools of colored light and more noise."""
    height, width = image.shape[:2]
    light = np.zeros((height // 4, width // 4, 3), np.float32)
    for _ in range(rng.integers(2, 8)):
        color = np.array((0.55, 0.8, 1.0)) if rng.random() < 0.6 else rng.uniform(0.4, 1.0, 3)
        center = rng.integers(0, width // 4), rng.integers(0, height // 4)
        radius = int(rng.uniform(0.1, 0.4) * width / 4)
        spot = np.zeros_like(light)
        cv2.circle(spot, center, radius, tuple(float(v) for v in color), -1)
        light += spot
    light = cv2.blur(light, (width // 16, width // 16)) + rng.uniform(0.22, 0.5)
    light = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
    image = cv2.multiply(image, np.clip(light, 0.1, 1.4), dtype=cv2.CV_8U)
    grain = rng.normal(0, rng.uniform(3, 11), (height, width)).astype(np.int16)
    return cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)


def _rain(rng, image):
    """Draw streaks of rain and a gray veil."""
    height, width = image.shape[:2]
    drops = np.zeros((height, width), np.uint8)
    lean, count = rng.normal(0, 0.25), int(rng.integers(100, 700))
    for x, y, length in zip(
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        rng.integers(6, 26, count),
        strict=True,
    ):
        end = (int(x + lean * length), int(y + length))
        cv2.line(drops, (int(x), int(y)), end, int(rng.integers(30, 110)), 1, cv2.LINE_AA)
    image = cv2.addWeighted(image, 0.85, np.full_like(image, 150), 0.12, 0)
    return cv2.add(image, cv2.merge([drops] * 3))


def _veil(rng, image):
    """Lower the contrast, as behind glass or against the light."""
    share, tone = rng.uniform(0.1, 0.45), rng.uniform(40, 210) + rng.normal(0, 10, 3)
    return cv2.addWeighted(image, 1 - share, np.full_like(image, np.clip(tone, 0, 255)), share, 0.0)


def _defocus(rng, image):
    """Blur the image, or enlarge it from fewer pixels."""
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.2))
    shrink = rng.uniform(0.4, 0.9)
    small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _motion_blur(rng, image):
    """Blur along the movement of the camera, mostly sideways."""
    size = int(rng.integers(3, 10))
    kernel = np.zeros((size, size), np.float32)
    angle, middle = rng.normal(0, 0.5), (size - 1) / 2
    step = np.array([np.cos(angle), np.sin(angle)]) * middle
    ends = np.rint([middle - step, middle + step]).astype(int)
    cv2.line(kernel, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1.0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _sharpen(rng, image):
    """Sharpen the image, with halos along edges."""
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 1.8))
    amount = rng.uniform(0.3, 1.2)
    return cv2.addWeighted(image, 1 + amount, soft, -amount, 0)


def _recompress(rng, image):
    """Compress the image at a low quality, as in a video."""
    quality = int(rng.integers(12, 70))
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)
