"""IDX files, the format of MNIST and Fashion-MNIST: which ones we know, read and verified.

An IDX file is a four-byte magic number (two zeros, the type of the values, the number of
dimensions), the dimensions as big-endian 32-bit integers, and the values in row-major order
(http://yann.lecun.com/exdb/mnist/). All of ours hold unsigned bytes, type 8.
"""

import gzip
import hashlib
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 8


class BadDataFile(ValueError):
    """A file of a data set is truncated, is no IDX file, or is not the published one."""


@dataclass(frozen=True)
class IdxFile:
    """One published file.

    :param name: its file name, without `.gz`.
    :param shape: the shape of the array of unsigned bytes in it.
    :param sha256: hexadecimal SHA-256 of its *uncompressed* content; gzip's own bytes vary.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The bytes before the values: magic number and dimensions."""
        magic = bytes((0, 0, UNSIGNED_BYTE, len(self.shape)))
        return magic + b"".join(n.to_bytes(4, "big") for n in self.shape)

    @property
    def size(self) -> int:
        """Length of the uncompressed file in bytes."""
        return len(self.header) + math.prod(self.shape)


@dataclass(frozen=True)
class IdxSource:
    """A data set of four IDX files, and the addresses of the folders that hold them (`.gz`)."""

    train_images: IdxFile
    train_labels: IdxFile
    test_images: IdxFile
    test_labels: IdxFile
    mirrors: tuple[str, ...]

    @property
    def files(self) -> tuple[IdxFile, ...]:
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)


def _mnist_like(sums: tuple[str, str, str, str], mirrors: tuple[str, ...]) -> IdxSource:
    return IdxSource(
        IdxFile("train-images-idx3-ubyte", (60_000, 28, 28), sums[0]),
        IdxFile("train-labels-idx1-ubyte", (60_000,), sums[1]),
        IdxFile("t10k-images-idx3-ubyte", (10_000, 28, 28), sums[2]),
        IdxFile("t10k-labels-idx1-ubyte", (10_000,), sums[3]),
        mirrors,
    )


SOURCES: dict[str, IdxSource] = {
    "mnist": _mnist_like(
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
    ),
    "fashion-mnist": _mnist_like(
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
    ),
}


def owner(content: bytes, file_name: str) -> str | None:
    """The data set whose file `file_name` has this uncompressed content; None if none has."""
    digest = hashlib.sha256(content).hexdigest()
    for name, source in SOURCES.items():
        if any(file.name == file_name and file.sha256 == digest for file in source.files):
            return name
    return None


def read_content(path: Path, limit: int) -> bytes:
    """The uncompressed content of a file, never more than `limit + 1` bytes of it.

    The bound keeps a gzip bomb from filling the memory; one byte more tells "too long".

    :raises BadDataFile: if a `.gz` is truncated or is not gzip.
    """
    with path.open("rb") as file:
        return _inflate(file, limit, str(path)) if path.suffix == ".gz" else file.read(limit + 1)


def inflate(compressed: bytes, limit: int, where: str) -> bytes:
    """Like `read_content`, for a gzip stream in memory; `where` names it in errors."""
    return _inflate(io.BytesIO(compressed), limit, where)


def _inflate(stream: io.IOBase, limit: int, where: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=stream) as file:
            return file.read(limit + 1)
    except EOFError as error:
        raise BadDataFile(f"{where}: truncated gzip file") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadDataFile(f"{where}: not a sound gzip file ({error})") from error


def parse(content: bytes, file: IdxFile, where: str) -> np.ndarray:
    """The array in `content`, once that is known to be the published file.

    :param where: the path or address that the content came from, for the message.
    :return: uint8, of shape `file.shape`, read-only.
    :raises BadDataFile: if it is another file, with what is wrong with it.
    """
    header = file.header
    if content[:4] != header[:4]:
        raise BadDataFile(
            f"{where}: wrong magic number {content[:4].hex() or '(empty file)'} where an IDX file "
            f"of {len(file.shape)}-dimensional bytes has {header[:4].hex()}"
        )
    if len(content) != file.size:
        state = "truncated" if len(content) < file.size else "too long"
        raise BadDataFile(
            f"{where}: {state}: expected {file.size} bytes uncompressed, found "
            f"{'more' if len(content) > file.size else len(content)}"
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise BadDataFile(
            f"{where}: wrong SHA-256 of the uncompressed content: expected {file.sha256}, "
            f"found {digest}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(file.shape)
