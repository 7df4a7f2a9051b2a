"""Finds images, videos, cameras and streams in the inputs of a run."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .predictor import Frame
from .video import count_images, is_animated

IMAGES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.dib', '.webp', '.avif', '.gif'),
    *('.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.pnm', '.jp2'),
)
VIDEOS = (
    *('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts'),
    *('.m2ts', '.mts', '.3gp', '.ogv'),
)
#: Formats that often hold animations, which are read as videos.
_ANIMATIONS = ('.gif', '.webp', '.avif')
#: Formats that hold several images, of which the first is used.
_MULTIPLE = ('.png', '.tif', '.tiff')
_SECRETS = re.compile(r'([?&][^=&]*(?:pass|pwd|token|key|secret|auth|sig)[^=&]*=)[^&#]*', re.I)


@dataclass(frozen=True)
class Images:
    """Image files.

    Attributes:
        paths (list[Path]): The files.
        names (list[str]): Unique names of their results: paths below the given directory, without
            suffix.
    """

    paths: list[Path]
    names: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def frames(self) -> Iterator[Frame]:
        """Yield a frame to be read for each file."""
        return (Frame(str(path)) for path in self.paths)

    def ignored_images(self, path: Path) -> int:
        """Return how many further images a file holds that are not used."""
        return count_images(path) - 1 if path.suffix.lower() in _MULTIPLE else 0


@dataclass(frozen=True)
class Video:
    """A video file, animation, camera or stream; opened only when it is read.

    Attributes:
        source (str): Path, camera index or address.
        name (str): Unique name of its results.
    """

    source: str
    name: str


@dataclass
class Sources:
    """What the inputs of a run contain.

    Attributes:
        found (list[Images | Video]): In the order of the inputs.
        errors (list[str]): Inputs that cannot be used, and why.
        skipped (Counter): Files in directories that are neither images nor videos, by suffix.
    """

    found: list[Images | Video] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)

    @property
    def paths(self) -> list[Path]:
        """All files, to compare them with outputs."""
        paths: list[Path] = []
        for source in self.found:
            if isinstance(source, Images):
                paths += source.paths
            elif not is_address(source.source):
                paths.append(Path(source.source))
        return paths


def find_sources(inputs: Sequence[str], exclude: Collection[Path] = ()) -> Sources:
    """Find the images and videos of inputs; images that follow each other form one source.

    Args:
        inputs (Sequence[str]): Images, directories (with everything below them, also through
            links), globs, videos, camera indices, addresses of streams. An existing path comes
            before a camera index of that name. Hidden files of directories are skipped.
        exclude (Collection[Path]): Resolved files and directories to skip inside directories.

    Example:
        >>> sources = find_sources(['missing.jpg', 'rtsp://user:secret@host/gate'])
        >>> sources.errors[0].split(':')[0], sources.found[0].name
        ('missing.jpg', 'gate')
    """
    sources = Sources()
    files: list[tuple[str | Path, Path]] = []  # with the directory that names are relative to
    for one in inputs:
        if is_address(one):
            files.append((one, Path()))
            continue
        path = Path(one).expanduser()
        matches = [path]
        if not path.exists():
            matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
            matches = [match for match in matches if not _skip(match, sources)]
        if not matches:
            sources.errors.append(
                f'{one}: not found: expected an image, directory, video file, camera index or '
                'stream URL'
            )
        for match in matches:
            if not match.is_dir():
                files.append((match, match.parent))
                continue
            inside = [file for file in _walk(match, exclude) if not _skip(file, sources)]
            if not inside:
                sources.errors.append(f'{match}: contains no images or videos')
            files += [(file, match) for file in inside]
    _group(files, sources)
    return sources


def is_address(source: str) -> bool:
    """Whether a source is a stream or camera and not a path.

    Example:
        >>> is_address('0'), is_address('rtsp://host/gate'), is_address('street.mp4')
        (True, True, False)
    """
    return '://' in source or (source.isdecimal() and not os.path.exists(source))


def hide_secrets(source: str) -> str:
    """Remove user name, password and tokens from an address.

    Example:
        >>> hide_secrets('rtsp://me:secret@host/gate?channel=1&token=abc')
        'rtsp://host/gate?channel=1&token=***'
    """
    if '://' not in source:
        return source
    scheme, _, rest = source.partition('://')
    host, slash, path = rest.partition('/')
    return _SECRETS.sub(r'\1***', f'{scheme}://{host.rpartition("@")[2]}{slash}{path}')


def _walk(root: Path, exclude: Collection[Path]) -> Iterator[Path]:
    """Yield the files below a directory, sorted; each linked directory once."""
    visited = {os.path.realpath(root)}
    for directory, subdirectories, names in os.walk(root, followlinks=True):
        kept = []
        for name in sorted(subdirectories):
            resolved = os.path.realpath(os.path.join(directory, name))
            if not name.startswith('.') and resolved not in visited | set(map(str, exclude)):
                visited.add(resolved)
                kept.append(name)
        subdirectories[:] = kept
        for name in sorted(names):
            path = Path(directory, name)
            if not exclude or Path(os.path.realpath(path)) not in exclude:
                yield path


def _skip(path: Path, sources: Sources) -> bool:
    """Whether a file of a directory or glob is neither image nor video; counts it."""
    if path.is_dir():
        return False
    suffix = path.suffix.lower()
    if path.name.startswith('.'):
        sources.skipped['hidden'] += 1
    elif suffix not in IMAGES and suffix not in VIDEOS:
        sources.skipped[suffix or 'no suffix'] += 1
    else:
        return False
    return True


def _group(files: list[tuple[str | Path, Path]], sources: Sources) -> None:
    """Turn files into sources with names that are unique in the whole run."""
    videos: list[tuple[int, str]] = []  # index in sources.found, plain name
    seen: set[Path] = set()
    taken: set[str] = set()
    for file, root in files:
        if isinstance(file, str):
            videos.append((len(sources.found), _address_name(file)))
            sources.found.append(Video(file, ''))
            continue
        if file in seen:
            continue
        seen.add(file)
        name = file.relative_to(root).with_suffix('').as_posix()
        suffix = file.suffix.lower()
        if suffix in VIDEOS or (suffix in _ANIMATIONS and is_animated(file)):
            videos.append((len(sources.found), name))
            sources.found.append(Video(str(file), ''))
            continue
        if not sources.found or isinstance(sources.found[-1], Video):
            sources.found.append(Images([], []))
        sources.found[-1].paths.append(file)
        sources.found[-1].names.append(_unique(name, taken))
    # the frames of a video are named NAME_000000: NAME is no image's, with or without a number
    taken |= {re.sub(r'_\d{6,}$', '', name) for name in taken}
    for index, name in videos:
        source = sources.found[index].source
        sources.found[index] = Video(source, _unique(name, taken))


def _address_name(source: str) -> str:
    """Return a file name for a camera or stream, without user name, password and query."""
    if '://' not in source:
        return f'camera{source}'
    url = urlsplit(hide_secrets(source))
    name = Path(url.path.rstrip('/')).stem or url.netloc or url.scheme
    return re.sub(r'[^\w.-]+', '_', name)


def _unique(name: str, taken: set[str]) -> str:
    plain, number = name, 2
    while name in taken:
        name, number = f'{plain}_{number}', number + 1
    taken.add(name)
    return name


def check_coordinates(
    lines: Sequence[Sequence[float]] = (), zones: Sequence[Sequence[float]] = ()
) -> None:
    """Raise ValueError if a line or zone has a wrong number of coordinates.

    Example:
        >>> check_coordinates(lines=[(1, 2, 3)])
        Traceback (most recent call last):
        ...
        ValueError: a line is x1,y1,x2,y2, got 3 numbers: [1, 2, 3]
    """
    for line in lines:
        if len(line) != 4:
            raise ValueError(f'a line is x1,y1,x2,y2, got {len(line)} numbers: {list(line)}')
    for zone in zones:
        if len(zone) < 6 or len(zone) % 2:
            raise ValueError(
                f'a zone is x1,y1,x2,y2,x3,y3,..., got {len(zone)} numbers: {list(zone)}'
            )
