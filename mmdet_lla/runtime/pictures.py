"""Pictures from files, and the size rule of a detector: what becomes of a picture before it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike

import cv2
import numpy as np

#: cv2's interpolations by mmcv's names.
_INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}


class BrokenPicture(ValueError):
    """A file that is no picture, or not a whole one."""


def read_picture(path: str | PathLike) -> np.ndarray:
    """Read a picture as OpenCV loads it, turned as its EXIF says.

    Returns:
        np.ndarray: BGR, uint8, shape (H, W, 3).

    Raises:
        BrokenPicture: It is missing, no picture, or cut off; the message names it.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BrokenPicture(f'{path}: {error.strerror or error}') from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # larger than OpenCV allows
        raise BrokenPicture(f'{path}: {error.err or error}') from error
    if image is None:
        raise BrokenPicture(f'{path}: no picture that OpenCV can read, or not a whole one')
    return image


def check_picture(image: np.ndarray) -> np.ndarray:
    """The picture, if it is BGR, uint8, (H, W, 3).

    Raises:
        BrokenPicture: It is not; the message says what it is.
    """
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        what = (
            f'{image.dtype} of shape {image.shape}'
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise BrokenPicture(f'a picture must be BGR, uint8, (H, W, 3), got {what}')
    return image


@dataclass(frozen=True)
class SizeRule:
    """How a picture is resized and padded, as mmdet's test pipelines do it.

    Attributes:
        scale (tuple[int, int]): Width and height; with ``keep_ratio`` what the long and short side
            must not exceed.
        keep_ratio (bool): Whether the picture keeps its shape.
        backend (str): 'cv2' or 'pillow', whose bilinear smooths where it reduces.
        interpolation (str): mmcv's name of it.
        pad_size (tuple[int, int], optional): Width and height that are filled up to, right and
            below.
        pad_square (bool): Whether the picture is filled up to a square.
        pad_divisor (int): Sides are filled up to multiples of it.
        pad_value (tuple[int, ...]): What it is filled with, a channel.
    """

    scale: tuple[int, int]
    keep_ratio: bool = True
    backend: str = 'cv2'
    interpolation: str = 'bilinear'
    pad_size: tuple[int, int] | None = None
    pad_square: bool = False
    pad_divisor: int = 1
    pad_value: tuple[int, ...] = (0, 0, 0)

    def apply(self, image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Resize and pad a picture.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3).

        Returns:
            tuple: The picture as the detector wants it, and by how much its width and height were
            multiplied.
        """
        height, width = image.shape[:2]
        new = self.scale
        if self.keep_ratio:
            factor = min(max(self.scale) / max(height, width), min(self.scale) / min(height, width))
            new = (int(width * factor + 0.5), int(height * factor + 0.5))
        if min(new) < 1:
            raise BrokenPicture(f'a picture of {width} x {height} has no pixel left when resized')
        resized = self._resize(image, new)
        return self._pad(resized), (new[0] / width, new[1] / height)

    def _resize(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if self.backend == 'pillow':
            from PIL import Image

            how = Image.Resampling[self.interpolation.upper()]
            return np.array(Image.fromarray(image).resize(size, how))
        return cv2.resize(image, size, interpolation=_INTERPOLATIONS[self.interpolation])

    def _pad(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if self.pad_square:
            height = width = max(height, width)
        if self.pad_size is not None:
            width, height = self.pad_size
        height, width = (
            -(-side // self.pad_divisor) * self.pad_divisor for side in (height, width)
        )
        below, right = height - image.shape[0], width - image.shape[1]
        if not below and not right:
            return image
        return cv2.copyMakeBorder(
            image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=self.pad_value
        )

    def to_dict(self) -> dict:
        """Plain values, for a file's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> SizeRule:
        """From what :meth:`to_dict` gave, also by way of JSON."""
        return cls(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
            }
        )
