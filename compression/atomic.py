"""Files that are written whole or not at all.

The content goes to a temporary file in the same folder, which the writer keeps locked, and then
takes the place of the old one. What a killed writer leaves is not locked: the next one removes it.
"""

import glob
import io
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # no locks on this system, so nothing is taken for a leftover
    fcntl = None

_STEM = 150  # bytes of a file's name in that of its temporary file, of the 255 there may be


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write `data` so that `path` holds, at every moment, its old content or all of the new.

    A symbolic link stays, and the file behind it is written. The permissions of an old file stay.
    A device or pipe is written into.

    :raises OSError: of the kind that occurred, its message naming the path and what to do; no
        temporary file is left behind.
    """
    write_atomic_by(path, lambda file: file.write(data))


def write_atomic_by(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """As `write_atomic`, for content that is written piece by piece.

    :param write: writes all of it to the file that it is given, in any order. What it raises
        leaves the old content.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            write(whole := io.BytesIO())  # a pipe has no places to go back to
            target.write_bytes(whole.getvalue())
            return
        remove_leftovers(target)
        _replace(target, write)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot write {os.fspath(path)!r} ({reason}); make room or name another place"
        raise type(error)(error.errno, message) from None


def remove_leftovers(path: str | os.PathLike) -> None:
    """Remove what writers of `path` that were killed have left, and nothing of living ones."""
    path = Path(path)
    pattern = re.compile(re.escape(_stem(path)) + r"\.[0-9a-f]{16}\.part")
    for found in path.parent.glob(f"{glob.escape(_stem(path))}.*.part"):
        if pattern.fullmatch(found.name):
            with suppress(OSError):  # another process was faster
                _remove_unlocked(found)


def _stem(path: Path) -> str:
    return "." + os.fsdecode(os.fsencode(path.name)[:_STEM])


def _remove_unlocked(leftover: Path) -> None:
    handle = os.open(leftover, os.O_RDWR)
    try:
        if _lock(handle):
            leftover.unlink()
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock an open file until it is closed.

    :returns: whether that was possible; False where another has it locked, None where there are no
        locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _open_temporary(target: Path) -> tuple[int, Path]:
    """A new locked file beside the target."""
    while True:
        temporary = target.with_name(f"{_stem(target)}.{secrets.token_hex(8)}.part")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        # Another process may take it for a leftover before it is locked, and remove it soon.
        if _lock(handle) is not False and temporary.exists():
            return handle, temporary
        os.close(handle)


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    handle, temporary = _open_temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            _keep_owner_and_mode(target, temporary)
            os.replace(temporary, target)  # still locked
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _keep_owner_and_mode(old: Path, new: Path) -> None:
    if not old.exists():
        return
    before, now = old.stat(), new.stat()
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        with suppress(OSError):  # only the superuser gives files away
            os.chown(new, before.st_uid, before.st_gid)
    os.chmod(new, before.st_mode & 0o7777)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder last through a power failure, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
