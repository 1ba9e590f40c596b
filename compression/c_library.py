"""The decoder in C as a library: built once by the system's compiler, kept in the user's cache.

The folder is `bitsback` in XDG_CACHE_HOME or ~/.cache. The name of the library holds a checksum of
its source, so that another version of the source is another library. BITSBACK_C=0 in the
environment turns it off. Whatever goes wrong, there is no library, and Python decodes.
"""

from __future__ import annotations

import os
import stat
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

USED_FROM = 1 << 12  # decisions from which loading the library pays
BUILT_FROM = 1 << 17  # decisions from which building it pays
FOLDER = Path(__file__).parent / "c"
SOURCES = ("bitsback.h", "decoder.c")
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")
LONGEST = 120  # seconds that a compiler may take


@cache
def library(build: bool) -> ctypes.CDLL | None:
    """The library, or None if there is none.

    :param build: whether to build it if nobody has.
    """
    try:
        path = place()
        if path is None or not (path.exists() or (build and _built(path))):
            return None
        if not (_is_ours(path) and _is_ours(path.parent)):
            return None
        import ctypes

        return ctypes.CDLL(str(path))
    except OSError:
        return None


def place() -> Path | None:
    """Where the library is or will be; None where it cannot be, or is turned off."""
    if os.environ.get("BITSBACK_C") == "0" or not hasattr(os, "getuid"):
        return None
    checksum = 0
    for name in SOURCES:
        checksum = zlib.crc32((FOLDER / name).read_bytes(), checksum)
    cached = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cached, "bitsback", f"decoder-{checksum:08x}-{os.uname().machine}.so")


def compiler() -> str | None:
    """The system's C compiler: $CC or cc."""
    import shutil

    return shutil.which(os.environ.get("CC") or "cc")


def _is_ours(path: Path) -> bool:
    """Whether nobody else can have written it: code is loaded from there."""
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _built(path: Path) -> bool:
    """Build the library, whole or not at all; whether that worked."""
    import subprocess
    import tempfile

    program = compiler()
    if program is None:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [program, *FLAGS, "-o", str(made), str(FOLDER / "decoder.c")]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=LONGEST)
        except subprocess.SubprocessError:
            return False
        made.chmod(0o700)
        os.replace(made, path)  # two processes at once make the same file
    return True
