"""CIFAR-10 from its published files, found on this machine or downloaded, and verified.

The binary and the Python version are read, as files or inside their `.tar.gz`. Each record (label,
then red, green and blue planes) has a SHA-256 digest, and a part is verified by the SHA-256 of its
sorted digests, which does not depend on the order of the images. Records are returned in the order
of their digests, so that splits are the same whatever version was found.
"""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .download import DataUnavailable, cache_folder, download, places
from .files import write_atomic
from .idx import BadDataFile

NAME = "cifar10"
MIRROR = "https://www.cs.toronto.edu/~kriz"
BINARY, PYTHON = "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"
FOLDERS = {BINARY: "cifar-10-batches-bin", PYTHON: "cifar-10-batches-py"}
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)
RECORD = 3_073  # bytes: a label and 3 x 32 x 32 pixels
IN_FILE = 10_000  # records
ARCHIVE_LIMIT = 1 << 28  # bytes; the published archives have 170 million
DIGESTS = {
    "train": "55a61f79a40ece2ceda9fb5f9f7078f6ea2fc4952489cef56682bcf92cfcc260",
    "test": "325704b01eb92e1e2a6215ae6a916bb7db7de054af0c496be1c7be2e0fcfbf5f",
}

Read = Callable[[str], bytes | None]  # the content of a published file by its name, if it is there


def records(
    data_dir: Path | None = None, console: Console | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The verified records of both parts, uint8 of shapes (50,000, 3,073) and (10,000, 3,073).

    :param data_dir: a folder to search first; then $BITSBACK_DATA and the cache folder.
    :param console: where a download shows its progress.
    :raises BadDataFile: files were found that are not the published ones.
    :raises DataUnavailable: the files are on no disk and cannot be downloaded.
    """
    for where, read in _sources(data_dir):
        found = _records_from(read, where)
        if found is not None:
            return found
    return _downloaded(data_dir, console or Console(stderr=True))


def _sources(data_dir: Path | None) -> Iterator[tuple[str, Read]]:
    """Folders and archives that may hold the files, in the order in which they are searched."""
    for place in places(NAME, data_dir):
        for folder in (place.folder, *(place.folder / name for name in FOLDERS.values())):
            yield str(folder), lambda name, folder=folder: _read_file(folder / name)
        for archive in FOLDERS:
            path = place.folder / archive
            if path.is_file():
                yield str(path), _in_archive(path.read_bytes(), str(path))


def _read_file(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _in_archive(data: bytes, where: str) -> Read:
    """Reads the files of a published archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            wanted = {f"{name}{end}" for name in (*TRAIN, *TEST) for end in ("", ".bin")}
            contents = {}
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.isfile() and name in wanted and member.size <= 4 * IN_FILE * RECORD:
                    contents[name] = archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadDataFile(f"{where}: not a sound archive ({error}); delete it") from error
    return contents.get


def _records_from(read: Read, where: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Both parts, verified; None if a file is missing."""
    parts = []
    for part, names in (("train", TRAIN), ("test", TEST)):
        files = [_batch(read, name, where) for name in names]
        if any(file is None for file in files):
            return None
        parts.append(_verified(np.concatenate(files), part, where))
    return parts[0], parts[1]


def _batch(read: Read, name: str, where: str) -> np.ndarray | None:
    """The records of one file of either version."""
    binary = read(f"{name}.bin")
    if binary is not None:
        if len(binary) != IN_FILE * RECORD:
            raise BadDataFile(f"{where}: {name}.bin has {len(binary)} bytes; delete it")
        return np.frombuffer(binary, np.uint8).reshape(IN_FILE, RECORD)
    pickled = read(name)
    return None if pickled is None else _unpickled(pickled, f"{where}: {name}")


class _Plain(pickle.Unpickler):
    """Reads arrays, numbers, strings and dictionaries, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.zeros(0).__reduce__()[0]
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _unpickled(data: bytes, where: str) -> np.ndarray:
    """The records of a file of the Python version; no code in it is run."""
    try:
        batch = _Plain(io.BytesIO(data), encoding="bytes").load()
        pixels = np.asarray(batch[b"data"], np.uint8).reshape(IN_FILE, RECORD - 1)
        labels = np.asarray(batch[b"labels"], np.uint8).reshape(IN_FILE, 1)
    except Exception as error:  # whatever a damaged pickle does
        raise BadDataFile(f"{where} is no batch of CIFAR-10 ({error}); delete it") from error
    return np.concatenate([labels, pixels], axis=1)


def _verified(found: np.ndarray, part: str, where: str) -> np.ndarray:
    """The records in the order of their digests, if they are the published ones."""
    digests = np.array([hashlib.sha256(record.tobytes()).digest() for record in found], "S32")
    order = np.argsort(digests, kind="stable")
    whole = hashlib.sha256()
    for digest in digests[order]:
        whole.update(bytes(digest).ljust(32, b"\0"))  # numpy drops zeros at the end
    if whole.hexdigest() != DIGESTS[part]:
        raise BadDataFile(
            f"{where}: the {part} images are not those of CIFAR-10; delete the files, or put the "
            f"published ones in their place"
        )
    return found[order]


def _downloaded(data_dir: Path | None, console: Console) -> tuple[np.ndarray, np.ndarray]:
    looked = "; ".join(str(place.folder) for place in places(NAME, data_dir))
    address = f"{MIRROR}/{BINARY}"
    try:
        data = download(address, ARCHIVE_LIMIT, console)
    except OSError as error:
        raise DataUnavailable(
            f"{NAME}: found neither {BINARY}, {PYTHON} nor their files in: {looked}. Download of "
            f"{address} failed: {getattr(error, 'reason', None) or error}. Go online, or put one "
            "of them into a folder and name it with --data-dir or $BITSBACK_DATA"
        ) from error
    found = _records_from(_in_archive(data, address), address)
    if found is None:
        raise DataUnavailable(f"{NAME}: {address} lacks a file of the data set")
    folder = cache_folder() / NAME
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / BINARY, data)
    return found
