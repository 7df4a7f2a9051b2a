"""Map image IDs to image files, the same way for datasets, checks, converters and analyses."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence

from ..utils.names import join_first

#: Suffixes of image files, in the order in which they are tried.
IMG_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def to_img_id(path: str) -> str:
    """Return the ID of an image: its path without ``.jpg``, which mmdet's reader adds to every ID.

    >>> to_img_id('day/a.jpg'), to_img_id('day/frame_000000.PNG')
    ('day/a', 'day/frame_000000.PNG')
    """
    return path.removesuffix('.jpg')


def guess_path(img_id: str, directory: str, suffix: str = '.jpg') -> str:
    """Return the path of an image in a storage that cannot be listed cheaply.

    >>> guess_path('a', 's3://bucket'), guess_path('b.png', 's3://bucket')
    ('s3://bucket/a.jpg', 's3://bucket/b.png')
    """
    has_suffix = img_id.lower().endswith(IMG_EXTENSIONS)
    return osp.join(directory, img_id if has_suffix else img_id + suffix)


class ImageLocator:
    """Finds the image files of a directory by ID.

    An ID may include a subdirectory and its extension, or not. Taken is ``ID + suffix`` if it
    exists, else ``ID``, else the ID with another usual suffix. Each directory is listed once.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     pathlib.Path(directory, 'frame_0.PNG').touch()
    ...     locator = ImageLocator(directory)
    ...     [osp.basename(locator.find(img_id)) for img_id in ('frame_0.PNG', 'frame_0')]
    ['frame_0.PNG', 'frame_0.PNG']
    """

    def __init__(self, directory: str | os.PathLike, suffix: str = '.jpg') -> None:
        self.directory = os.fspath(directory)
        others = [other for ext in IMG_EXTENSIONS for other in (ext, ext.upper())]
        self._suffixes = [suffix, '', *others]
        self._names: dict[str, set[str]] = {}

    def locate(self, img_id: str | int) -> str | None:
        """Return the path of an image; None if there is none."""
        path = osp.join(self.directory, str(img_id))
        parent, base = osp.split(path)
        if parent not in self._names:
            self._names[parent] = set(os.listdir(parent)) if osp.isdir(parent) else set()
        names = self._names[parent]
        return next((path + suffix for suffix in self._suffixes if base + suffix in names), None)

    def find(self, img_id: str | int) -> str:
        """Return the path of an image.

        Raises:
            FileNotFoundError: There is none.
        """
        return self.find_all([img_id])[0]

    def find_all(self, img_ids: Sequence[str | int]) -> list[str]:
        """Return the paths of images.

        Raises:
            FileNotFoundError: Names the first few images that do not exist.
        """
        paths = [self.locate(img_id) for img_id in img_ids]
        missing = [
            osp.join(self.directory, f'{img_id}{self._suffixes[0]}')
            for img_id, path in zip(img_ids, paths, strict=True)
            if path is None
        ]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(img_ids)} images do not exist: {join_first(missing)}'
            )
        return paths
