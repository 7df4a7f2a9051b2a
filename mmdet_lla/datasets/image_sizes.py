"""Image sizes from file headers, read in parallel and cached between runs.

Sizes are those that mmdet sees after loading: OpenCV applies the orientation stored in EXIF.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import os.path as osp
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import cv2
import numpy as np
from filelock import FileLock
from mmengine.fileio import get
from mmengine.logging import MMLogger
from PIL import Image
from tqdm import tqdm

from ..utils.files import atomic_write
from ..utils.names import join_first
from .text import AnnotationError, read_json

Size = tuple[int, int]

_FORMAT = 'mmdet_lla image sizes, 2'
_ORIENTATION = 0x0112
_LARGEST_SIDE = 1 << 31


class ImageReadError(OSError):
    """An image that cannot be read; names it and the reason."""


class ImageTooLargeError(ImageReadError):
    """An image of more than 178,956,970 pixels, which Pillow refuses as an attack."""


def read_image_size(source: str | io.BytesIO, name: str = '', decode: bool = False) -> Size:
    """Return (height, width) of an image in pixels, as OpenCV would load it, from its header.

    >>> file = io.BytesIO()
    >>> Image.new('RGB', (40, 20)).save(file, 'PNG')
    >>> read_image_size(file)
    (20, 40)

    Args:
        source: Path, or the file's bytes.
        name: Name in messages; the path by default.
        decode: Whether to decode all pixels as well, to find truncated files.

    Raises:
        ImageReadError: The file is missing, or cannot be read.
    """
    with _open_image(source, name) as image:
        if decode:
            image.load()
        height, width = image.height, image.width
        rotated = False
        # Without this test, getexif() would decode whole PNG files in search of EXIF.
        if image.info.get('exif'):
            with suppress(Exception):  # damaged EXIF in an intact image
                rotated = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
        is_jpeg = image.format in ('JPEG', 'MPO')
    if rotated and not is_jpeg:  # which other formats OpenCV rotates depends on its version
        content = source.getvalue() if isinstance(source, io.BytesIO) else get(source)
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if decoded is not None:
            return decoded.shape[:2]
    return (width, height) if rotated else (height, width)


@contextmanager
def _open_image(source: str | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """Open an image with Pillow; any of its exceptions becomes an ImageReadError."""
    name = name or (source if isinstance(source, str) else 'image')
    try:
        with Image.open(source) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f'{name}: {error}') from error
    except Exception as error:  # damaged files raise exceptions of any kind
        raise ImageReadError(f'{name}: {str(error) or type(error).__name__}') from error


def read_image_sizes(
    paths: Sequence[str], backend_args: Mapping | None = None, workers: int = 8
) -> list[Size]:
    """Read the sizes of many images in threads, with a progress bar.

    Raises:
        OSError: Names the first few images that are missing or unreadable.
    """

    def read(path: str) -> Size | str:
        try:
            if backend_args is None:
                return read_image_size(path)
            return read_image_size(io.BytesIO(get(path, backend_args=dict(backend_args))), path)
        except ImageReadError as error:
            return str(error)
        except OSError as error:
            return f'{path}: {error}'

    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(read, paths, chunksize=64)
        disable = len(paths) < 1000
        results = list(tqdm(results, 'reading image sizes', len(paths), disable=disable))
    failed = [result for result in results if isinstance(result, str)]
    if failed:
        raise OSError(
            f'{len(failed)} of {len(paths)} images are missing or unreadable: {join_first(failed)}'
        )
    return results


def load_or_read_sizes(
    img_ids: Sequence[str],
    read: Callable[[], Sequence[Size]],
    fingerprint: str,
    paths: Sequence[str],
) -> dict[str, Size]:
    """Return sizes by ID from the first valid cache, else read them once and cache them.

    Of several processes that need the same sizes one reads the images; the others wait for it.

    Args:
        img_ids: IDs of the images.
        read: Reads the sizes, in the order of ``img_ids``.
        fingerprint: Digest of the annotations; a cache with another one is not used.
        paths: Possible cache files in order of preference, see :func:`list_cache_paths`.
    """
    for path in paths:
        if sizes := load_cache(path, fingerprint, img_ids):
            return sizes
    logger = MMLogger.get_current_instance()
    path = next((path for path in paths if _is_writable(osp.dirname(path))), None)
    if path is None:
        logger.warning('image sizes are not cached, cannot write any of %s', ', '.join(paths))
        return dict(zip(img_ids, read(), strict=True))
    with FileLock(path + '.lock'):
        sizes = load_cache(path, fingerprint, img_ids)
        if sizes is None:
            sizes = dict(zip(img_ids, read(), strict=True))
            try:
                with atomic_write(path) as file:
                    json.dump({'format': _FORMAT, 'fingerprint': fingerprint, 'sizes': sizes}, file)
            except OSError as error:
                logger.warning('image sizes were not cached: %s', error)
    # A process that comes later and locks a new file finds the cache.
    with suppress(OSError):
        os.remove(path + '.lock')
    return sizes


def list_cache_paths(ann_file: str, directory: str, cache_dir: str | None = None) -> list[str]:
    """Return where the sizes of an annotation file's images may be cached.

    Args:
        ann_file: The annotation file; the cache is beside it, or else in the user's cache
            directory.
        directory: Image directory. Its digest is part of the name, since one annotation file may
            serve several.
        cache_dir: Directory to use instead of both.
    """
    root = osp.dirname(osp.abspath(ann_file))
    tag = digest(osp.relpath(osp.abspath(directory), root).encode())[:8]
    name = f'{osp.basename(ann_file)}.sizes-{tag}.json'
    # Outside the data directory, files of the same name from elsewhere must not collide.
    outside = f'{digest(root.encode())[:8]}-{name}'
    if cache_dir is not None:
        return [osp.join(osp.abspath(cache_dir), outside)]
    home = os.environ.get('XDG_CACHE_HOME') or osp.join(osp.expanduser('~'), '.cache')
    return [osp.join(root, name), osp.join(home, 'mmdet_lla', outside)]


def load_cache(path: str, fingerprint: str, img_ids: Sequence[str] = ()) -> dict[str, Size] | None:
    """Return the sizes in a cache file; None if it is absent, damaged, outdated or incomplete."""
    try:
        content = read_json(path)
        if (content['format'], content['fingerprint']) != (_FORMAT, fingerprint):
            return None
        sizes = parse_sizes(content['sizes'], path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sizes if sizes.keys() >= set(img_ids) else None


def parse_sizes(table: object, path: str) -> dict[str, Size]:
    """Return sizes by ID from the content of a JSON file ``{ID: [height, width]}``.

    >>> parse_sizes({'a': [20, 40]}, 'id_hw_train.json')
    {'a': (20, 40)}

    Raises:
        AnnotationError: It has another form; names the first wrong entry.
    """
    if not isinstance(table, dict):
        raise AnnotationError(f'{path}: an object with sizes by ID was expected')
    for name, size in table.items():
        if not is_size(size):
            raise AnnotationError(
                f'{path}: {name!r} must be [height, width], whole numbers above 0, got {size!r}'
            )
    return {name: tuple(size) for name, size in table.items()}


def is_size(size: object) -> bool:
    """Return whether a JSON value is an image's height and width: two whole numbers above 0.

    >>> is_size([20, 40]), is_size([20, 0]), is_size('20x40')
    (True, False, False)
    """
    return (
        isinstance(size, (list, tuple))
        and len(size) == 2
        and all(type(side) is int and 0 < side < _LARGEST_SIDE for side in size)
    )


def digest(data: bytes) -> str:
    """Return a short digest of bytes in hexadecimal digits.

    >>> len(digest(b''))
    32
    """
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _is_writable(directory: str) -> bool:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)
