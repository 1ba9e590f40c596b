"""Files that are written whole or not at all, and the check that they can be."""

import os
import tempfile
from pathlib import Path

from ..compression.atomic import remove_leftovers, write_atomic

__all__ = ["check_folder", "check_writable", "remove_leftovers", "write_atomic"]


def check_writable(path: Path, option: str) -> None:
    """Refuse an output that cannot be written, before hours of work go into its content.

    :param path: the file that is to be written later; its folder must exist. A device or a pipe
        is written into.
    :param option: the command-line option that named it, for the message.
    :raises ValueError: if `path` is a folder, or its folder is missing or cannot be written.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; name a file in it")
    if path.exists() and not path.is_file():
        if not os.access(path, os.W_OK):
            raise ValueError(f"{option} {path}: cannot be written; name another file")
        return
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
