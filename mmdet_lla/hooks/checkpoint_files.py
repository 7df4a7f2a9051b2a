"""Writes checkpoint files completely or not at all, and checks them before they are used."""

import os
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..plain_checkpoints import read_checkpoint
from ..utils.files import atomic_write

#: Entries that a training needs to continue.
RESUME_KEYS = ('meta', 'state_dict', 'message_hub')


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message names it, the reason and what to do."""


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """Local files that appear under their name only when they are complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`~mmdet_lla.utils.files.atomic_write`."""
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(filepath, 'wb') as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


def remove_unfinished(directory: str | Path) -> None:
    """Remove what killed processes left of checkpoints that they were writing.

    >>> remove_unfinished('.')
    """
    for path in Path(directory).glob('.*.part.pth'):
        path.unlink(missing_ok=True)


def checkpoint_fault(path: str | Path) -> str | None:
    """Say why no training can continue from a checkpoint file; None if one can.

    Reads the whole file, and executes nothing in it.

    >>> checkpoint_fault('missing.pth')
    'it does not exist'
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            return f'its part {damaged} is damaged'
        checkpoint = read_checkpoint(path)
        meta = checkpoint.get('meta', ())
        missing = [key for key in RESUME_KEYS if key not in checkpoint]
        missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in meta]
    except FileNotFoundError:
        return 'it does not exist'
    except zipfile.BadZipFile as error:
        return f'it is cut off or no checkpoint of torch ({os.path.getsize(path)} bytes: {error})'
    except ValueError as error:
        return _first_line(error)
    except Exception as error:  # damage leads any decoder astray, zlib's for one
        return f'it cannot be read ({_first_line(error)})'
    return f'it has no {", ".join(missing)}' if missing else None


def _first_line(error: Exception) -> str:
    return str(error).split('\n')[0] or type(error).__name__
