"""Atomic writes, and checks that keep outputs apart from inputs."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: Errors of fsync that mean lost data; any other says that the file system has no fsync.
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the same directory, renamed to ``path`` on success.

    On any exception, also an exit, the temporary file is removed and ``path`` is left unchanged.
    The temporary name keeps the suffix, for libraries that choose a format by it.

    Args:
        path (str | PathLike): The target. Where it is a link, the file behind it is replaced. A
            device or pipe is yielded itself.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / 'a.txt'
        >>> with atomic_path(target) as part:
        ...     _ = part.write_text('complete')
        >>> target.read_text(), len(list(target.parent.iterdir()))
        ('complete', 1)
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        yield target
        return
    mark = f'{os.getpid()}-{threading.get_ident()}'
    part = target.with_name(f'.{target.stem[:40]}.{mark}.part{target.suffix[:10]}')
    try:
        yield part
        _sync(part)
        os.replace(part, target)
    finally:
        with suppress(OSError):
            part.unlink()
    with suppress(OSError):
        _sync(target.parent)  # or the name may be lost in a power failure


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'w', **kwargs) -> Iterator:
    """Open a file for writing that appears under its name only when it is complete.

    Args:
        path (str | PathLike): The target; see :func:`atomic_path`.
        mode (str): 'w' or 'wb'. Defaults to 'w', in UTF-8.
        **kwargs: Of :func:`open`.

    Raises:
        OSError: The file cannot be written. A file system without fsync is no error.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / 'a.txt'
        >>> with atomic_write(target) as file:
        ...     _ = file.write('complete')
        >>> target.read_text()
        'complete'
    """
    if 'b' not in mode:
        kwargs.setdefault('encoding', 'utf-8')
    with atomic_path(path) as part, open(part, mode, **kwargs) as file:
        yield file


def _sync(path: Path) -> None:
    """Flush a file or directory to the disk, where the file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no directory
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _LOST:
            raise
    finally:
        os.close(descriptor)


def check_outputs(
    outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]
) -> None:
    """Raise if an output would overwrite an input, or cannot be created.

    Args:
        outputs (Iterable[str | PathLike]): Files to write, and directories to fill. A directory
            that only contains other outputs, as ``--out-dir`` does, is not listed itself.
        inputs (Iterable[str | PathLike]): Files and directories to read. Missing ones, addresses
            and camera numbers are allowed.

    Raises:
        ValueError: An output is an input, by path, link or inode; an output directory contains an
            input; or a parent of an output is a regular file. The message names both.

    Example:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> (directory / 'a.json').touch()
        >>> check_outputs([directory / 'b.json'], [directory / 'a.json'])
        >>> try:
        ...     check_outputs([directory / 'a.json'], [directory / 'a.json'])
        ... except ValueError as error:
        ...     print(str(error).split()[-3:])
        ['choose', 'another', 'output']
    """
    by_inode: dict[tuple[int, int], Path] = {}
    by_path: dict[Path, Path] = {}
    for one in map(Path, inputs):
        resolved = _resolve(one)
        by_path.setdefault(resolved, one)
        for parent in resolved.parents:
            by_path.setdefault(parent, one)
        with suppress(OSError, ValueError):
            stat = resolved.stat()
            by_inode.setdefault((stat.st_dev, stat.st_ino), one)
    for output in map(Path, outputs):
        resolved = _resolve(output)
        for parent in resolved.parents:
            if parent.exists():
                if not parent.is_dir():
                    raise ValueError(f'output {output} lies below {parent}, which is a file')
                break
        found = by_path.get(resolved)
        if found is None:
            with suppress(OSError, ValueError):
                stat = resolved.stat()
                found = by_inode.get((stat.st_dev, stat.st_ino))
        if found is not None:
            raise ValueError(
                f'output {output} would overwrite input {found}: choose another output'
            )


def is_local(path: str) -> bool:
    """Return whether a path has no scheme of a remote storage.

    Example:
        >>> is_local('a/b.pth'), is_local('s3://bucket/b.pth')
        (True, False)
    """
    return '://' not in path and not path.startswith('s3:')


def _resolve(path: Path) -> Path:
    return Path(os.path.realpath(path.expanduser()))


def unique_names(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Return a distinct name for each path: its stem, with parent directories where stems collide.

    Args:
        paths (Sequence[str | PathLike]): A path that occurs twice gets two names.

    Returns:
        list[str]: In the order of the paths, fit for file names.

    Example:
        >>> unique_names(['a.json', 'm1/b.json', 'm2/b.json', 'c.jpg', 'c.png'])
        ['a', 'm1_b', 'm2_b', 'c', 'c_2']
    """
    parts = [Path(os.path.abspath(path)).with_suffix('').parts[1:] for path in paths]
    names = [own[-1] if own else 'root' for own in parts]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        groups: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            groups.setdefault(name, []).append(i)
        for group in groups.values():
            if len({parts[i] for i in group}) > 1:  # parent directories tell them apart
                for i in group:
                    names[i] = '_'.join(parts[i][-depth:])
    taken = set()
    for i, name in enumerate(names):
        number = 2
        while names[i] in taken:
            names[i], number = f'{name}_{number}', number + 1
        taken.add(names[i])
    return names
