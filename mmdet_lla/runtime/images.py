"""Reads images, converts arrays and PIL images to BGR, and resizes them for a detector."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from os import PathLike

import cv2
import numpy as np

#: OpenCV's interpolations by mmcv's names.
_INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}


class BrokenImageError(ValueError):
    """An image that cannot be read or used; the message says which and why."""


def read_image(path: str | PathLike) -> np.ndarray:
    """Read an image file with OpenCV and apply its EXIF orientation.

    Returns:
        np.ndarray: BGR, uint8, shape (H, W, 3).

    Raises:
        BrokenImageError: The file is missing, truncated or not an image; the message names it.

    Example:
        >>> read_image('missing.jpg')
        Traceback (most recent call last):
        ...
        mmdet_lla.runtime.images.BrokenImageError: missing.jpg: No such file or directory
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BrokenImageError(f'{path}: {error.strerror or error}') from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # larger than OpenCV allows
        raise BrokenImageError(f'{path}: {error.err or error}') from error
    if image is None:
        raise BrokenImageError(f'{path}: not an image that OpenCV can read, or truncated')
    return image


def is_pil_image(image) -> bool:
    """Whether an object is a PIL image; does not import PIL."""
    module = sys.modules.get('PIL.Image')
    return module is not None and isinstance(image, module.Image)


def to_bgr(image) -> np.ndarray:
    """Convert an array or PIL image to what :func:`read_image` returns for the same content.

    Args:
        image (np.ndarray | PIL.Image.Image): uint8 or uint16 in the shape (H, W), (H, W, 1),
            (H, W, 3) as BGR or (H, W, 4) as BGRA, or a PIL image of any mode but 'F'. Alpha is
            dropped, and 16-bit values lose their low byte, as in files.

    Returns:
        np.ndarray: BGR, uint8, shape (H, W, 3); the array itself if it is so already.

    Raises:
        BrokenImageError: It is something else; the message says what was expected.

    Example:
        >>> to_bgr(np.full((2, 4), 65535, np.uint16))[0, 0]
        array([255, 255, 255], dtype=uint8)
    """
    if is_pil_image(image):
        image = _pil_to_array(image)
    if not isinstance(image, np.ndarray):
        raise BrokenImageError(
            f'expected a path, an array or a PIL image, got {type(image).__name__}'
        )
    shape = f'{image.dtype} of shape {image.shape}'
    if image.ndim == 2:
        image = image[..., None]
    fits = image.ndim == 3 and image.shape[2] in (1, 3, 4) and image.size
    if not fits or image.dtype not in (np.uint8, np.uint16):
        raise BrokenImageError(
            'expected uint8 or uint16 in the shape (H, W), (H, W, 3) as BGR or (H, W, 4) as BGRA, '
            f'got {shape}'
        )
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return image if image.shape[2] == 3 else np.ascontiguousarray(image[..., :3])


def _pil_to_array(image) -> np.ndarray:
    """Apply the EXIF orientation and convert to BGR, or to uint16 where the mode has more bits."""
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):  # 16 bits, in older versions of PIL as 32
            return np.asarray(image).clip(0, 65535).astype(np.uint16)
        if image.mode == 'F':
            return np.asarray(image)
        return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except OSError as error:  # PIL decodes when it is asked for the pixels
        name = getattr(image, 'filename', '') or 'PIL image'
        raise BrokenImageError(f'{name}: {error}') from error


@dataclass(frozen=True)
class SizeRule:
    """Resizes and pads an image as mmdet's test pipelines do.

    Attributes:
        scale (tuple[int, int]): Width and height; with ``keep_ratio`` the limits of the long and
            short side.
        keep_ratio (bool): Whether the image keeps its aspect ratio.
        backend (str): 'cv2' or 'pillow', whose bilinear interpolation antialiases.
        interpolation (str): mmcv's name of the interpolation.
        pad_size (tuple[int, int], optional): Width and height to pad to, right and below.
        pad_square (bool): Whether to pad to a square.
        pad_divisor (int): Pads each side to a multiple of it.
        pad_value (tuple[int, ...]): Padding value per channel.

    Example:
        >>> resized, factors = SizeRule((64, 64)).apply(np.zeros((40, 80, 3), np.uint8))
        >>> resized.shape, factors
        ((32, 64, 3), (0.8, 0.8))
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
        """Resize and pad an image.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3).

        Returns:
            tuple: The resized image, and the scale factors of width and height.

        Raises:
            BrokenImageError: A side would have no pixels.
        """
        height, width = image.shape[:2]
        new = self.scale
        if self.keep_ratio:
            factor = min(max(self.scale) / max(height, width), min(self.scale) / min(height, width))
            new = (int(width * factor + 0.5), int(height * factor + 0.5))
        if min(new) < 1:
            raise BrokenImageError(
                f'an image of {width} x {height} has no pixels left after resizing'
            )
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
        """Return plain values for a file's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> SizeRule:
        """Create a rule from the values of :meth:`to_dict`, also after JSON."""
        return cls(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
            }
        )
