"""Image sizes from file headers, in parallel, remembered between runs.

Sizes are those mmdet sees after loading, that is after the orientation stored in a image
(EXIF) has been applied, as OpenCV does.
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

from .text import AnnotationError, read_json, replacing

Size = tuple[int, int]

_FORMAT = 'mmdet_lla image sizes, 1'
_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
_ALWAYS_TURNED = ('JPEG', 'MPO', 'PNG')  # by OpenCV, if the header says so
_TAIL = 1 << 18
_LARGEST_SIDE = 1 << 31
_SHOWN = 5


class ImageReadError(OSError):
    """A image that cannot be read; says which and why."""


class ImageTooLargeError(ImageReadError):
    """A image that Pillow takes for an attack: more than 178,956,970 pixels."""


def read_image_size(source: str | io.BytesIO, name: str = '') -> Size:
    """(height, width) of a image in pixels, as OpenCV would load it.

    Pixels are not decoded where the header tells. Where OpenCV turns a image in some versions or
    some files only (AVIF, WebP, a PNG with its EXIF after the pixels, damaged EXIF), it is asked.

    Args:
        source: Path, or the file's bytes.
        name: What to call it in messages; its path by default.

    Raises:
        ImageReadError: The file is missing, or its header cannot be read.
    """
    with _opened(source, name) as image:
        width, height = image.size
        form = image.format
        # Asking getexif() unconditionally would decode whole PNG files in search of it.
        exif = image.info.get('exif', b'')
        orientation = _orientation(image) if exif else None
    turned = orientation in _TRANSPOSED
    if (
        (turned and form not in _ALWAYS_TURNED)
        or (orientation not in range(1, 9) and _mentions_orientation(exif))
        or (form == 'PNG' and not exif and b'eXIf' in _content(source, last=_TAIL))
        or (form == 'AVIF' and b'Exif' in _content(source, first=_TAIL))
    ):
        with suppress(cv2.error):  # mmdet will not load it either
            loaded = cv2.imdecode(np.frombuffer(_content(source), np.uint8), cv2.IMREAD_COLOR)
            if loaded is not None:
                return loaded.shape[:2]
    return (width, height) if turned else (height, width)


def _orientation(image: Image.Image) -> int | None:
    """Orientation that Pillow finds; None if there is none, or the EXIF is damaged."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # of any kind, as in _opened; the image may be whole
        return None


def _mentions_orientation(exif: bytes) -> bool:
    """Whether EXIF that Pillow finds no orientation in may have one, damaged."""
    head = exif[:512]
    return b'\x01\x12' in head or b'\x12\x01' in head


def decode_image(source: str | io.BytesIO, name: str = '') -> None:
    """Decode a image to see whether it can be.

    Args:
        source, name: See :func:`read_image_size`.

    Raises:
        ImageReadError: It cannot.
    """
    with _opened(source, name) as image:
        image.load()


@contextmanager
def _opened(source: str | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """A image opened by Pillow, whose many ways of refusing one become a ImageReadError."""
    name = name or (source if isinstance(source, str) else 'image')
    try:
        with Image.open(source) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f'{name}: {error}') from error
    except Exception as error:  # damage leads a decoder astray to any error there is
        raise ImageReadError(f'{name}: {str(error) or type(error).__name__}') from error


def _content(source: str | io.BytesIO, first: int | None = None, last: int | None = None) -> bytes:
    """Bytes of a file: all, so many from its beginning, or so many before its end."""
    if not isinstance(source, str):
        content = source.getvalue()
        return content[:first] if last is None else content[-last:]
    with open(source, 'rb') as file:
        if last is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        return file.read(-1 if first is None else first)


def read_image_sizes(
    paths: Sequence[str], backend_args: Mapping | None = None, workers: int = 8
) -> list[Size]:
    """Sizes of many images, read by several threads, with a progress bar.

    Raises:
        OSError: Names the first few images that are missing or unreadable.
    """

    def size_or_error(path: str) -> Size | str:
        try:
            if backend_args is None:
                return read_image_size(path)
            return read_image_size(io.BytesIO(get(path, backend_args=dict(backend_args))), path)
        except ImageReadError as error:
            return str(error)
        except OSError as error:
            return f'{path}: {error}'

    with ThreadPoolExecutor(workers) as pool:
        results = list(
            tqdm(
                pool.map(size_or_error, paths, chunksize=64),
                total=len(paths),
                desc='reading image sizes',
                unit='images',
                disable=len(paths) < 1000,
            )
        )
    failed = [result for result in results if isinstance(result, str)]
    if failed:
        raise OSError(
            f'{len(failed)} of {len(paths)} images are missing or unreadable: ' + _first(failed)
        )
    return results


def locate_images(names: Sequence[str], directory: str, suffix: str) -> list[str | None]:
    """Path of every image, None where there is none.

    A name may include its extension and a subdirectory, or not: ``directory/name + suffix`` is
    taken if it exists, else ``directory/name``. Each directory is listed once.
    """
    listings: dict[str, set[str]] = {}

    def exists(path: str) -> bool:
        parent, base = osp.split(path)
        if parent not in listings:
            listings[parent] = set(os.listdir(parent)) if osp.isdir(parent) else set()
        return base in listings[parent]

    paths = []
    for name in names:
        path = osp.join(directory, name)
        paths.append(path + suffix if exists(path + suffix) else path if exists(path) else None)
    return paths


def find_images(names: Sequence[str], directory: str, suffix: str) -> list[str]:
    """Path of every image, found as by :func:`locate_images`.

    Raises:
        FileNotFoundError: Names the first few images that are not there.
    """
    paths = locate_images(names, directory, suffix)
    missing = [
        osp.join(directory, n) + suffix
        for n, path in zip(names, paths, strict=True)
        if path is None
    ]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(names)} images are not there: {_first(missing)}'
        )
    return paths


def cached_sizes(
    names: Sequence[str],
    read: Callable[[], Sequence[Size]],
    fingerprint: str,
    cache_files: Sequence[str],
    known: Callable[[], Mapping[str, Size] | None] = lambda: None,
) -> dict[str, Size]:
    """Sizes by name from the first cache that fits, else read once and remembered.

    When several processes want the same sizes at the same time, one reads the images; the
    others wait for it and take what it wrote. A cache is written under another name and then
    moved into place, so none is ever seen half written.

    Args:
        names: What sizes are wanted of.
        read: Reads the sizes, in the order of ``names``.
        fingerprint: Of everything the sizes depend on; a cache with another one is not used.
        cache_files: Where the cache may lie, in order of preference.
        known: Gives sizes from elsewhere, or None; asked before ``read``.
    """
    for path in cache_files:
        sizes = _load(path, fingerprint, names)
        if sizes is not None:
            return sizes
    target = next((path for path in cache_files if _writable(osp.dirname(path))), None)
    if target is None:
        MMLogger.get_current_instance().warning(
            'image sizes cannot be remembered: none of these can be written: %s',
            ', '.join(cache_files),
        )
        return dict(zip(names, read(), strict=True))
    lock = target + '.lock'
    with FileLock(lock):
        sizes = _load(target, fingerprint, names)
        if sizes is None:
            given = known()
            sizes = (
                dict(zip(names, read(), strict=True))
                if given is None
                else {n: given[n] for n in names}
            )
            _store(target, fingerprint, sizes)
    # Whoever comes late and locks a new file finds the cache, so this one need not stay.
    with suppress(OSError):
        os.remove(lock)
    return sizes


def cache_files(ann_file: str, directory: str, cache_dir: str | None = None) -> list[str]:
    """Where the sizes of an annotation file's images may be remembered.

    Beside the annotation file; if that cannot be written, in the user's cache directory. The image
    directory is part of the name, so that one annotation file can serve several.

    Args:
        ann_file: The annotation file.
        directory: The image directory.
        cache_dir: Directory to use instead of both.
    """
    root = osp.dirname(osp.abspath(ann_file))
    tag = digest(osp.relpath(osp.abspath(directory), root).encode())[:8]
    name = f'{osp.basename(ann_file)}.sizes-{tag}.json'
    # Outside the data directory, files of the same name from elsewhere must not meet.
    outside = f'{digest(root.encode())[:8]}-{name}'
    if cache_dir is not None:
        return [osp.join(osp.abspath(cache_dir), outside)]
    home = os.environ.get('XDG_CACHE_HOME') or osp.join(osp.expanduser('~'), '.cache')
    return [osp.join(root, name), osp.join(home, 'mmdet_lla', outside)]


def digest(data: bytes) -> str:
    """Short fingerprint of bytes, in hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def load_cache(path: str, fingerprint: str) -> dict[str, Size] | None:
    """Content of one cache file; None if it is absent, damaged, or of other annotations."""
    try:
        content = read_json(path)
        if not isinstance(content, dict) or content.get('format') != _FORMAT:
            return None
        if content.get('fingerprint') != fingerprint:
            return None
        return _as_sizes(content.get('sizes'), path)
    except (OSError, ValueError):
        return None


def read_size_table(path: str, backend_args: Mapping | None = None) -> dict[str, Size]:
    """Sizes by name from JSON ``{name: [height, width]}``, mmdet's form.

    Raises:
        AnnotationError: It is not in this form; names the first that is wrong.
    """
    return _as_sizes(read_json(path, backend_args), path)


def is_size(size: object) -> bool:
    """Whether a value of JSON is a image's height and width: two whole numbers above 0."""
    return (
        isinstance(size, (list, tuple))
        and len(size) == 2
        and all(type(side) is int and 0 < side < _LARGEST_SIDE for side in size)
    )


def _as_sizes(table: object, path: str) -> dict[str, Size]:
    if not isinstance(table, dict):
        raise AnnotationError(f'{path}: an object of sizes by name was expected')
    for name, size in table.items():
        if not is_size(size):
            raise AnnotationError(
                f'{path}: {name!r} must be [height, width], whole numbers above 0, got {size!r}'
            )
    return {name: tuple(size) for name, size in table.items()}


def _load(path: str, fingerprint: str, names: Sequence[str]) -> dict[str, Size] | None:
    sizes = load_cache(path, fingerprint)
    return sizes if sizes is not None and all(name in sizes for name in names) else None


def _store(path: str, fingerprint: str, sizes: Mapping[str, Size]) -> None:
    try:
        with replacing(path) as file:
            json.dump({'format': _FORMAT, 'fingerprint': fingerprint, 'sizes': sizes}, file)
    except OSError as error:
        MMLogger.get_current_instance().warning('image sizes were not remembered: %s', error)


def _writable(directory: str) -> bool:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)


def _first(items: Sequence[str]) -> str:
    return ', '.join(items[:_SHOWN]) + (', ...' if len(items) > _SHOWN else '')
