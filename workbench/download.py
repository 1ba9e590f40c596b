"""Where the files of a data set are: folders of this machine first, then public mirrors."""

import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from . import idx
from .files import write_atomic

# Debian's package dataset-fashion-mnist puts the four files here.
DEBIAN = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
SECONDS_OF_SILENCE = 30
SLOWEST = 20_000  # bytes a second that a mirror gives in the long run
CHUNK = 1 << 16
GZIP_OVERHEAD = 1 << 16  # bytes by which gzip may exceed what it holds; its own bound is less


class DataUnavailable(OSError):
    """A data set is neither on this machine nor to be had from its mirrors."""


@dataclass(frozen=True)
class Place:
    """A folder to look in; in a `shared` one lies, perhaps, another data set of equal names."""

    folder: Path
    shared: bool


def cache_folder() -> Path:
    """The user's folder for downloaded data: `$XDG_CACHE_HOME/bitsback`, or in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bitsback"


def places(name: str, data_dir: Path | None) -> list[Place]:
    """The folders that may hold the data set `name`, in the order in which they are searched.

    :raises ValueError: if `data_dir` was given and is no folder.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise ValueError(f"data folder {data_dir}: there is no such folder")
    environment = os.environ.get("BITSBACK_DATA")
    roots = [data_dir, Path(environment) if environment else None, cache_folder()]
    found = [
        place
        for root in roots
        if root is not None
        for place in (Place(root / name, False), Place(root, True))
    ]
    return found + ([Place(DEBIAN[name], False)] if name in DEBIAN else [])


def obtain(
    name: str, data_dir: Path | None = None, console: Console | None = None
) -> dict[str, np.ndarray]:
    """The four verified arrays of the data set `name`, by file name.

    :param data_dir: a folder to search before all others.
    :param console: where a download shows its progress, if that is a terminal; default stderr.
    :raises BadDataFile: if a file was found that is not the published one.
    :raises DataUnavailable: if a file is on no disk and no mirror gave it.
    """
    where = places(name, data_dir)
    source = idx.SOURCES[name]
    missing, arrays, strangers = [], {}, []
    for file in source.files:
        array = _from_disk(name, file, where, strangers)
        if array is None:
            missing.append(file)
        else:
            arrays[file.name] = array
    if missing:
        looked = "; ".join(str(place.folder) for place in where) + "".join(strangers)
        arrays |= _from_mirrors(name, missing, looked, console or Console(stderr=True))
    return arrays


def _from_disk(
    name: str, file: idx.IdxFile, where: list[Place], strangers: list[str]
) -> np.ndarray | None:
    """The array of `file` from the first place that has it; None if none has.

    A file of another data set in a shared folder is no fault: it is noted in `strangers`, for the
    message in case the search ends in vain, and passed over.
    """
    for place in where:
        for path in (place.folder / file.name, place.folder / f"{file.name}.gz"):
            if not path.is_file():
                continue
            try:
                content = idx.read_content(path, file.size)
                other = idx.owner(content, file.name) if place.shared else None
                if other in (None, name):
                    return idx.parse(content, file, str(path))
            except idx.BadDataFile as error:
                remedy = f"delete it, or put the published file of {name} in its place"
                raise idx.BadDataFile(f"{error}; {remedy}") from error
            strangers.append(f"; {path} is the one of {other}")
    return None


def _from_mirrors(
    name: str, files: list[idx.IdxFile], looked: str, console: Console
) -> dict[str, np.ndarray]:
    """Download, verify and cache `files`."""
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    with _progress(console) as progress:
        for file in files:
            compressed, arrays[file.name] = _from_first_mirror(name, file, looked, progress)
            write_atomic(folder / f"{file.name}.gz", compressed)
    return arrays


def _from_first_mirror(
    name: str, file: idx.IdxFile, looked: str, progress: Progress
) -> tuple[bytes, np.ndarray]:
    """The compressed bytes and the array of `file`, from the first mirror that has it sound."""
    reasons = []
    for mirror in idx.SOURCES[name].mirrors:
        address = f"{mirror}/{file.name}.gz"
        try:
            compressed = _fetch(address, file.size + GZIP_OVERHEAD, progress)
            content = idx.inflate(compressed, file.size, address)
            return compressed, idx.parse(content, file, address)
        except (OSError, http.client.HTTPException, idx.BadDataFile) as error:
            reasons.append(f"{address}: {getattr(error, 'reason', None) or error}")
    raise DataUnavailable(
        f"{name}: found no {file.name}[.gz] in: {looked}. Downloads failed: {'; '.join(reasons)}. "
        f"Go online, or put the four IDX files of {name} into a folder and name it with "
        "--data-dir or $BITSBACK_DATA"
    )


def download(address: str, limit: int, console: Console) -> bytes:
    """The bytes at an address, with progress on a terminal.

    :raises OSError: it cannot be read, or holds more than `limit` bytes.
    """
    with _progress(console) as progress:
        try:
            return _fetch(address, limit, progress)
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )


def _fetch(address: str, limit: int, progress: Progress) -> bytes:
    """The bytes at `address`.

    :raises OSError: if it cannot be read, holds more than `limit` bytes, or comes too slowly. That
        it is complete is for the caller to check.
    """
    deadline = time.monotonic() + SECONDS_OF_SILENCE + limit / SLOWEST
    with urllib.request.urlopen(address, timeout=SECONDS_OF_SILENCE) as response:
        said = response.headers.get("Content-Length") or ""
        total = int(said) if said.isascii() and said.isdecimal() else None
        task = progress.add_task(address.rsplit("/", 1)[1], total=total)
        data = bytearray()
        while chunk := response.read1(CHUNK):  # what is there, so that a trickle meets the deadline
            data += chunk
            if len(data) > limit:
                raise OSError(f"more than {limit} bytes")
            if time.monotonic() > deadline:
                raise OSError(f"slower than {SLOWEST:,} bytes a second")
            progress.update(task, completed=len(data))
    return bytes(data)
