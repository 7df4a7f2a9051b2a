"""Reads and writes videos: files, animations, cameras and streams."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .predictor import Frame

#: Frame rate if a source does not tell its own.
DEFAULT_RATE = 25.0
#: Containers that store the number of their frames. Others give duration times rate.
_COUNTED = ('.mp4', '.m4v', '.mov', '.3gp', '.avi')
#: Longest pause between two frames of a drawn video, in seconds; a longer one is a broken clock.
_MAX_PAUSE = 60.0


class VideoReader:
    """Reads the frames of a video file, animation, camera or stream with their times.

    Args:
        source (str): Path, camera index or address.
        name (str, optional): Name for messages and frames, without passwords. Defaults to
            ``source``.

    Attributes:
        live (bool): Whether frames come in real time; then they are dropped if not read in time.
        rate (float): Nominal frames per second.
        count (int, optional): Number of frames, exact or estimated.

    Raises:
        ValueError: It cannot be opened.

    Example::

        reader = VideoReader('street.mp4')
        for frame in reader.frames():
            frame.image, frame.time
    """

    def __init__(self, source: str, name: str | None = None) -> None:
        self.source, self.name = source, name or source
        self._camera = source.isdecimal() and not os.path.exists(source)
        self._path = None if self._camera or '://' in source else Path(source)
        self._animation = self._path is not None and is_animated(self._path)
        if self._animation:
            self._capture = _AnimationCapture(source)
        elif self._camera:
            self._capture = cv2.VideoCapture(int(source))
        else:
            # other backends of OpenCV print the address, with its password, if they fail
            self._capture = _open(source)
        if not self._capture.isOpened():
            what = 'video' if self._path is not None else 'camera or stream'
            raise ValueError(f'{self.name}: not a {what} that OpenCV can open')
        self.rate = self._capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self.rate < 1000:
            self.rate = DEFAULT_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.live = self._path is None and (self._camera or not 0 < count < 1e9)
        self.count = count if count > 0 and not self.live else None

    def frames(self) -> Iterator[Frame]:
        """Yield all readable frames, then one with an error if frames are missing.

        Decoders skip frames that they cannot decode. They are noticed by the number of frames, and
        located by gaps in time.
        """
        index, before, gaps = 0, None, []
        clock = _Clock(self)
        try:
            while True:
                complete, image = self._capture.read()
                if not complete:
                    break
                now = clock.read(self._capture)
                if before is not None and now - before > 1.5 / self.rate:
                    gaps.append(f'after {before:.2f} s')
                before = now
                yield Frame(self.name, image, index, round(now, 3))
                index += 1
        finally:
            self._capture.release()
        error = self._find_missing(index, gaps)
        if error is None and self.live:
            error = f'stream ended after {index} frames ({before:.1f} s): closed or connection lost'
        if error is not None:
            yield Frame(self.name, None, index, before or 0.0, f'{self.name}: {error}')

    def _find_missing(self, index: int, gaps: list[str]) -> str | None:
        """Return what is missing after ``index`` frames were read, or None."""
        if not index:
            return 'no frame can be read'
        suffix = Path(self.source.partition('?')[0]).suffix.lower()
        if self._path is not None and suffix in ('.mkv', '.webm'):
            if is_truncated_matroska(self._path):
                return f'the file is truncated, {index} frames were read'
        if self.count is None or (suffix not in _COUNTED and not self._animation):
            return None
        missing = self.count - index
        # one missing frame without a gap may be due to rounding
        if missing <= (0 if gaps else 1):
            return None
        where = ', '.join(gaps[:5]) if gaps else 'at the end'
        return f'{missing} of {self.count} frames cannot be read, {where}'


class _Clock:
    """Time of each frame: of the file, or for live sources the time of arrival where it is later.

    A network camera that sends JPEGs has no timestamps; OpenCV then assumes 25 frames per second.
    """

    def __init__(self, reader: VideoReader) -> None:
        self.live, self.step = reader.live, 1 / reader.rate
        self.start = self.last = None
        codec = int(reader._capture.get(cv2.CAP_PROP_FOURCC))
        motion_jpeg = codec.to_bytes(4, 'little', signed=codec < 0) == b'MJPG'
        self.stamped = not (reader._camera or (reader.live and motion_jpeg))

    def read(self, capture) -> float:
        now = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self.stamped else 0.0
        if self.live:
            arrival = time.monotonic()
            if self.start is None:
                self.start = arrival, now
            now = max(arrival - self.start[0], now - self.start[1])
        if self.last is not None and now <= self.last:
            now = self.last + (0.001 if self.live else self.step)
        self.last = now
        return now


class _AnimationCapture:
    """Reads GIF, WebP, PNG and AVIF animations with PIL, like a ``cv2.VideoCapture``."""

    def __init__(self, path: str) -> None:
        from PIL import Image

        self.image, self.index, self.position, self.next = Image.open(path), 0, 0.0, 0.0

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def get(self, prop: int) -> float:
        duration = self.image.info.get('duration') or 1000 / DEFAULT_RATE
        values = {
            cv2.CAP_PROP_FPS: 1000 / duration,
            cv2.CAP_PROP_FRAME_COUNT: self.image.n_frames,
            cv2.CAP_PROP_POS_MSEC: self.position,
        }
        return values.get(prop, 0.0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        try:
            self.image.seek(self.index)
            image = np.asarray(self.image.convert('RGB'))[..., ::-1]
        except (EOFError, OSError, SyntaxError, ValueError):
            return False, None
        self.position = self.next
        self.next += self.image.info.get('duration') or 1000 / DEFAULT_RATE
        self.index += 1
        return True, np.ascontiguousarray(image)

    def release(self) -> None:
        self.image.close()


def _open(source: str):
    """Open a file or address with FFmpeg if OpenCV has it, else with any backend."""
    try:
        source.encode()
    except UnicodeEncodeError as error:
        name = source.encode('utf-8', 'backslashreplace').decode()
        raise ValueError(f'{name}: the name is not UTF-8, as OpenCV needs it') from error
    capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    if not capture.isOpened() and cv2.CAP_FFMPEG not in cv2.videoio_registry.getStreamBackends():
        return cv2.VideoCapture(source)
    return capture


def is_animated(path: str | os.PathLike) -> bool:
    """Whether an image file is an animation.

    Example:
        >>> is_animated('missing.gif')
        False
    """
    return Path(path).suffix.lower() in ('.gif', '.webp', '.avif') and count_images(path) > 1


def count_images(path: str | os.PathLike) -> int:
    """Return the number of images in a file, 1 if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return getattr(image, 'n_frames', 1)
    except Exception:  # a broken file is reported when it is read
        return 1


def is_truncated_matroska(path: Path) -> bool:
    """Whether an MKV or WebM file is shorter than its header says."""
    with open(path, 'rb') as file:
        head = file.read(4096)
    position = 0
    for identifier in (b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'):  # EBML header, Segment
        if head[position : position + 4] != identifier or len(head) < position + 5:
            return False
        length = 9 - head[position + 4].bit_length()  # of the size, in bytes
        field = head[position + 4 : position + 4 + length]
        size = int.from_bytes(field, 'big') & ((1 << 7 * length) - 1)
        position += 4 + length + size
    unknown = size == (1 << 7 * length) - 1  # as live recordings write it
    return not unknown and position > os.path.getsize(path)


class VideoWriter:
    """Writes an mp4 at a constant frame rate that is as long as its source.

    Frames are repeated where the source pauses, and dropped where it is more than half a second
    ahead. The file appears under its name when it is complete.

    Args:
        path (Path): The file to write.
        size (tuple[int, int]): Width and height.
        rate (float): Frames per second.

    Raises:
        OSError: The file cannot be created.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / 'a.mp4'
        >>> writer = VideoWriter(path, (64, 48), 10)
        >>> for time in (0.0, 0.1, 0.5):
        ...     writer.write(np.zeros((48, 64, 3), np.uint8), time)
        >>> writer.close()
        >>> VideoReader(str(path)).count
        6
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        self.path, self.size, self.rate = path, size, rate
        self._part = path.with_name(f'.{path.stem[:40]}.{os.getpid()}.part.mp4')
        self._written, self._start = 0, 0.0
        self._last: tuple[np.ndarray, float] | None = None
        self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter_fourcc(*'mp4v'), rate, size)
        if not self._writer.isOpened():
            self._part.unlink(missing_ok=True)
            raise OSError(f'{path} cannot be written: OpenCV cannot create it')

    def write(self, image: np.ndarray, time: float) -> None:
        """Add a frame that is shown from ``time`` on, in seconds."""
        if image.shape[1::-1] != self.size:  # a stream may change its size
            image = cv2.resize(image, self.size)
        if self._last is None:
            self._start = time
        elif not 0 <= time - self._last[1] <= _MAX_PAUSE:
            self._start = time - self._written / self.rate
        pause = round((time - self._start) * self.rate) - self._written
        for _ in range(pause if self._last is not None else 0):
            self._put(self._last[0])
        if pause >= -0.5 * self.rate:
            self._put(image)
        self._last = image, time

    def _put(self, image: np.ndarray) -> None:
        self._writer.write(image)
        self._written += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: It could not be written completely; OpenCV does not say so itself.
        """
        self._writer.release()
        try:
            if not self._is_complete():
                raise OSError(
                    f'{self.path} could not be written completely: is the disk full, or the file '
                    'size limited?'
                )
            os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def _is_complete(self) -> bool:
        """Read the number of frames and the last frame."""
        check = cv2.VideoCapture(str(self._part))
        try:
            count = int(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
            check.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
            return count == self._written and check.read()[0]
        finally:
            check.release()


def printable(text: str) -> str:
    """Return text that can be printed: bytes of file names that are not UTF-8 are escaped.

    Example:
        >>> print(printable('stra\\udcdfe.jpg'))
        stra\\udcdfe.jpg
    """
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    return text.encode(encoding, 'backslashreplace').decode(encoding)
