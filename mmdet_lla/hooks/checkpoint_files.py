"""Checkpoints as files: written whole or not at all, and looked at before they are trusted."""

import os
import zipfile
from contextlib import suppress
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..plain_checkpoints import read_checkpoint

#: What a training cannot go on without.
RESUME_KEYS = ('meta', 'state_dict', 'message_hub')


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read; says which, why, and what to do."""


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """Local files that appear under their name only once they are complete, on the disk."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file beside the target, then rename it."""
        target = Path(filepath)
        part = target.with_name(target.name + '.part')
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the name may be lost with the power
        finally:
            os.close(folder)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


def checkpoint_fault(path: str | Path) -> str | None:
    """Say why no training can go on from a checkpoint file; None if one can.

    Reads the whole file, and executes nothing that it may hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            return f'its part {damaged} is damaged'
        held = read_checkpoint(path)
        missing = [key for key in RESUME_KEYS if key not in held]
        missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in held.get('meta', ())]
    except FileNotFoundError:
        return 'it is not there'
    except zipfile.BadZipFile as error:
        return f'it is cut off or no checkpoint of torch ({os.path.getsize(path)} bytes: {error})'
    except Exception as error:  # damage leads any decoder astray, zlib's for one
        return f'it cannot be read ({_first_line(error)})'
    return f'it has no {", ".join(missing)}' if missing else None


def _first_line(error: Exception) -> str:
    return str(error).split('\n')[0] or type(error).__name__
