"""Writes small images and videos for tests."""

from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, size=(40, 30), value: int = 200) -> Path:
    """Write a gray image of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((size[1], size[0], 3), value, np.uint8)
    path.write_bytes(cv2.imencode('.png' if path.suffix == '.png' else '.jpg', image)[1].tobytes())
    return path


def write_video(path: Path, frames: int = 12, fourcc: str = 'MJPG') -> Path:
    """Write a video of 160 x 120 at 10 frames per second whose frames differ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 10, (160, 120))
    for i in range(frames):
        image = np.random.default_rng(i).integers(256, size=(12, 16, 3), dtype=np.uint8)
        writer.write(cv2.resize(image, (160, 120)))
    writer.release()
    return path
