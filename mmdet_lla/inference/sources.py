"""What to detect in: pictures, folders, globs, videos, cameras and streams."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from .predictor import Frame

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm', '.jp2')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts')
#: Frames of a second that is not known.
USUAL_RATE = 25.0


@dataclass(frozen=True)
class Pictures:
    """Picture files.

    Attributes:
        paths (list[Path]): Each once.
        names (list[str]): Of what comes of each: its path below the folder that was given, without
            extension; each once.
    """

    paths: list[Path]
    names: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def frames(self) -> Iterator[Frame]:
        """One for every picture, to be read."""
        return (Frame(str(path)) for path in self.paths)


class Video:
    """A video file, a camera or a stream.

    Args:
        source (str): Path, number of a camera, or address.

    Attributes:
        name (str): Fit for a file name.
        live (bool): Whether frames come at their own time.
        rate (float): Frames a second.
        count (int, optional): Frames, where the file says so.

    Raises:
        ValueError: It cannot be opened.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.live = source.isdigit() or '://' in source
        self.capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not self.capture.isOpened():
            what = 'camera or stream' if self.live else 'video'
            raise ValueError(f'{source} is no {what} that OpenCV can open')
        self.rate = self.capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self.rate < 1000:
            self.rate = USUAL_RATE
        count = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 and not self.live else None
        self.name = f'camera{source}' if source.isdigit() else Path(source.rstrip('/')).stem

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be read; at the end one with a fault, if there were others or none.

        A decoder leaves out what it cannot read. What is missing is seen from the number of frames,
        and where it is from a leap in time.
        """
        index, before, leaps = 0, None, []
        try:
            while True:
                whole, image = self.capture.read()
                if not whole:
                    break
                time = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if before is not None and time - before > 1.5 / self.rate:
                    leaps.append(f'after {before:.2f} s')
                before = time
                yield Frame(self.source, image, index, round(time, 3))
                index += 1
        finally:
            self.capture.release()
        missing = 0 if self.count is None else self.count - index
        # without a leap, one may be an estimate that was rounded
        if missing > (0 if leaps else 1):
            where = ', '.join(leaps[:5]) if leaps else 'at the end'
            fault = f'{self.source}: {missing} of {self.count} frames cannot be read, {where}'
            yield Frame(self.source, None, index, before, fault)
        elif not index:
            yield Frame(self.source, None, 0, 0.0, f'{self.source}: not one frame can be read')


def find_sources(inputs: Sequence[str]) -> list[Pictures | Video]:
    """What inputs name, in their order; pictures that follow each other together.

    Args:
        inputs (Sequence[str]): Pictures, folders (with all below them), globs, videos, numbers of
            cameras, addresses of streams.

    Raises:
        ValueError: One of them names nothing, or no picture or video.
    """
    sources: list[Pictures | Video] = []
    found: list[tuple[Path, Path]] = []  # pictures, and what their names are relative to

    def close() -> None:
        if found:
            once = dict(found)
            sources.append(Pictures(list(once), _names(once)))
            found.clear()

    for one in inputs:
        if one.isdigit() or '://' in one:
            close()
            sources.append(Video(one))
            continue
        for path in _paths(one):
            if path.is_dir():
                inside = sorted(p for p in path.rglob('*') if p.suffix.lower() in PICTURES)
                if not inside:
                    raise ValueError(f'{path} holds no picture ({", ".join(PICTURES)})')
                found += [(picture, path) for picture in inside]
            elif path.suffix.lower() in VIDEOS:
                close()
                sources.append(Video(str(path)))
            else:
                found.append((path, path.parent))
    close()
    return sources


def _paths(one: str) -> list[Path]:
    """The file or folder of that name, else all that the glob fits."""
    path = Path(one).expanduser()
    if path.exists():
        return [path]
    paths = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    if not paths:
        raise ValueError(f'{one} names no picture, folder, video, camera or stream')
    return paths


def _names(pictures: dict[Path, Path]) -> list[str]:
    """A name for every picture, none twice."""
    taken: set[str] = set()
    names = []
    for path, root in pictures.items():
        plain = path.relative_to(root).with_suffix('').as_posix()
        name, number = plain, 2
        while name in taken:
            name, number = f'{plain}_{number}', number + 1
        taken.add(name)
        names.append(name)
    return names
