"""Files that are written whole or not at all, and the check that they can be."""

import os
import tempfile
from pathlib import Path


def check_writable(path: Path, option: str) -> None:
    """Refuse an output that cannot be written, before hours of work go into its content.

    :param path: the file that is to be written later; its folder must exist.
    :param option: the command-line option that named it, for the message.
    :raises ValueError: if `path` is a folder, or its folder is missing or cannot be written.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}; make it first")
    try:
        # Only an attempt tells: permission bits say nothing about read-only or full file systems.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"{option} {path}: cannot write into {path.parent} ({error.strerror}); "
            "name a file in another folder"
        ) from error


def check_folder(folder: Path, option: str) -> None:
    """Make an output folder, and refuse one that cannot be written.

    :raises ValueError: if it is a file, or it or its parents cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{option} {folder}: cannot make this folder ({error.strerror}); name another"
        ) from error
    check_writable(folder / "file", option)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds, at every moment, its old content or all of the new.

    The content goes to a temporary file in the same folder and reaches the disk before the
    rename; then the folder's entry does, so that a power cut cannot undo it.

    :raises OSError: if it cannot be written (a full disk, say); no temporary file is left behind.
    """
    # The process's number keeps two writers apart; a file left by a killed one is written over.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` that were killed have left; for files with one writer only."""
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
