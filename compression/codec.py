"""The bytes of a compressed file: `encode` and `decode`.

The layout is on one screen in docs/format.md. A file is untrusted: its checksum is verified
before anything is parsed, every size is admitted before anything is allocated, and whatever is
wrong raises `CorruptFile`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .archive import Archive, Quantised
from .c_library import USED_FROM
from .context import Model
from .errors import CorruptFile, UnsupportedVersion
from .fast.model import FastModel, TwoStreams
from .huffman import BitStream, Published
from .limits import MAX_ARCHITECTURE, MAX_FILE, check_decisions, check_weights
from .range_coder import Stream
from .wire import varint

if TYPE_CHECKING:
    from .architecture import Architecture, TensorSpec

MAGIC = b"\x9cbb"
VERSION = 23  # the newest; a file has the first version that has all that is in it
GRAPHS = 4  # the version whose architectures are graphs
SORTED = 5  # between versions 1 to 4 and 6 to 9, in which the rows of weights may be sorted
FAST = 10  # between versions 1 to 4 and 11 to 14, whose weights are in the profile `fast`
PREDICTED = 14  # between versions 1 to 9 and 15 to 23, in which weights are predicted
PACKED = 5  # the version of packed checkpoints, which are no networks: see the folder `packed`
PACKED_FAST = PACKED + SORTED  # in which matrices may be in the profile `fast`
PACKED_VERSIONS = (bytes([PACKED]), bytes([PACKED_FAST]))
CODERS = {
    "small": (Stream, Model),
    "huffman": (BitStream, Published),
    "fast": (TwoStreams, FastModel),
}
NUMBERED = ("small", "huffman")  # in a file, in this order; "fast" is said by the version
PREDICTING = 2  # the number of "small" with predictions in the decoder in C
FAST_FROM = 1 << 20  # weights of a network from which a writer takes "fast" if it is not told
CODED_RAW = 1 << 16  # bytes of a raw tensor up to which it goes through the coder
CHECKSUM = 4  # bytes


def encode(archive: Archive, coder: str | None = None) -> bytes:
    """The file of an archive: a function of the archive and the coder alone.

    :param coder: "small" (the fewest bytes), "fast" (for large networks) or "huffman" (published,
        for comparison). Default, or "range": see `coder_for`.
    :raises ValueError: unknown coder, rows that are not sorted as the archive says, or an archive
        beyond the format's limits.
    """
    coder = check_coder(coder) or coder_for(archive)
    architecture = archive.architecture.to_bytes()
    if len(architecture) > MAX_ARCHITECTURE:
        raise ValueError(f"the architecture takes more than {MAX_ARCHITECTURE} bytes")
    stream_class, model_class = CODERS[coder]
    if archive.sorted and coder != "small":
        raise ValueError(f"the coder {coder!r} has no sorted rows; use 'small'")
    predicts = coder == "small"
    model = _model(
        archive.architecture,
        model_class,
        stream_class(),
        groups=_groups(archive),
        predicts=predicts,
    )
    plain = []
    for spec in archive.architecture.tensors():
        tensor = archive.tensors[spec.name]
        if _is_plain(spec):
            plain.append(_to_bytes(tensor))
        else:
            _code(model, spec, tensor)
    body = b"".join(plain) + model.finish()
    fast = coder == "fast"
    number = len(architecture) * len(NUMBERED) + (0 if fast else NUMBERED.index(coder))
    version = archive.architecture.version() + (SORTED if archive.sorted else 0)
    version += PREDICTED if predicts else FAST if fast else 0
    data = MAGIC + bytes([version]) + varint(number) + architecture + body
    _admit(archive.architecture, fast, len(data) + CHECKSUM)
    return data + zlib.crc32(data).to_bytes(CHECKSUM, "little")


def check_coder(coder: str | None) -> str | None:
    """A coder by its name. None, or "range", is the range coder in the profile of `coder_for`.

    :raises ValueError: it is not known.
    """
    if coder not in (None, "range", *CODERS):
        raise ValueError(f"unknown coder {coder!r}; known are {', '.join(CODERS)}")
    return None if coder == "range" else coder


def coder_for(archive: Archive) -> str:
    """The coder that a writer takes if it is not told: "fast" from `FAST_FROM` weights on."""
    weights = sum(prod(s.shape) for s in archive.architecture.tensors() if s.role == "weight")
    return "fast" if weights >= FAST_FROM and not archive.sorted else "small"


def decode(data: bytes) -> Archive:
    """The archive in a file.

    :raises UnsupportedVersion: the file is of a newer format.
    :raises CorruptFile: anything else is wrong with it.
    :raises ValueError: the file is a packed checkpoint, which holds no network.
    """
    archive, _ = read_archive(data)
    return archive


Charge = Callable[[str, str, float], None]  # is told a tensor, a part of it and the part's bits


def read_archive(data: bytes, charge: Charge | None = None) -> tuple[Archive, dict]:
    """The archive, and what the header says."""
    opened = open_file(data)
    architecture, coder, body = opened.architecture, opened.coder, opened.body
    tensors, specs = {}, architecture.tensors()
    for spec in filter(_is_plain, specs):
        size = prod(spec.shape) * np.dtype(spec.dtype).itemsize
        if size > len(body):
            raise CorruptFile(f"the file ends within tensor {spec.name!r}")
        tensors[spec.name] = _from_bytes(body[:size], spec)
        if charge is not None:
            charge(spec.name, "raw", 8.0 * size)
        body = body[size:]
    streamed, groups = _decode_stream(opened, body, charge)
    tensors |= streamed
    architecture.check(tensors)
    return Archive(architecture, tensors, groups), {"coder": coder, "shapes": len(opened.shapes)}


class Opened(NamedTuple):
    """The parts of a file whose checksum is right.

    :param shapes: the bytes of the architecture.
    :param is_sorted: whether the rows of weights may be sorted.
    :param predicts: whether weights are predicted; see `context.Model`.
    :param body: the plain tensors and the stream.
    """

    shapes: bytes
    architecture: Architecture
    coder: str
    is_sorted: bool
    predicts: bool
    body: memoryview

    @property
    def in_c(self) -> int:
        """The number of the coder in `c/bitsback.h`, which does not read the profile `fast`."""
        return PREDICTING if self.predicts else NUMBERED.index(self.coder)


def open_file(data: bytes) -> Opened:
    """All of a file but its tensors.

    :raises CorruptFile, ValueError: as `decode`.
    """
    body = _verified(data)
    if is_packed(data):
        from .packed.reader import PackedReader

        PackedReader(bytes(data))  # a damaged one is said to be damaged
        raise ValueError("is a packed checkpoint, not a network: use bitsback.unpack")
    number, place = _read_varint(body, len(MAGIC) + 1)
    length, which = divmod(number, len(NUMBERED))
    if length > min(MAX_ARCHITECTURE, len(body) - place):
        raise CorruptFile("the architecture in the file is longer than the file")
    shapes = bytes(body[place : place + length])
    version, is_sorted, fast, predicts = _versions(body[len(MAGIC)])
    architecture = _architecture(shapes, version)
    try:
        _admit(architecture, fast, len(data))
    except ValueError:
        raise CorruptFile("the file declares more weights than its bytes can hold") from None
    coder = NUMBERED[which]
    if (is_sorted or fast or predicts) and coder != "small":
        raise CorruptFile(f"the coder {coder!r} is not in files of this version")
    coder = "fast" if fast else coder
    return Opened(shapes, architecture, coder, is_sorted, predicts, body[place + length :])


def _groups(archive: Archive) -> list[int] | None:
    """Of each weight tensor in how many groups its rows are sorted; None if none are."""
    if not archive.sorted:
        return None
    return [archive.sorted.get(name, 0) for name in _sortable(archive.architecture)]


def _sortable(architecture: Architecture) -> list[str]:
    return [spec.name for spec in architecture.tensors() if spec.role == "weight"]


def _versions(number: int) -> tuple[int, bool, bool, bool]:
    """The version of the architecture; whether rows may be sorted, "fast", with predictions."""
    predicts = number > PREDICTED
    number -= PREDICTED if predicts else 0
    if number > FAST:
        return number - FAST, False, True, False
    is_sorted = number > SORTED
    return number - (SORTED if is_sorted else 0), is_sorted, False, predicts


def _architecture(data: bytes, version: int) -> Architecture:
    if version == GRAPHS:
        from .graph_architecture import GraphArchitecture

        return GraphArchitecture.from_bytes(data, version)
    from .architecture import Architecture

    return Architecture.from_bytes(data, version)


def _decode_stream(
    opened: Opened, data: memoryview, charge: Charge | None
) -> tuple[dict[str, Quantised | np.ndarray], dict[str, int]]:
    """The tensors of a stream, and the number of groups of those whose rows are sorted."""
    if charge is None and (found := _decode_in_c(opened, data)):
        return found
    architecture = opened.architecture
    stream_class, model_class = CODERS[opened.coder]
    stream = stream_class(data)
    name, before = "", 0.0

    def spent(part: str) -> None:
        nonlocal before
        if charge is not None:
            charge(name, part, stream.bits() - before)
            before = stream.bits()

    groups = () if opened.is_sorted else None
    model = _model(architecture, model_class, stream, spent, groups, opened.predicts)
    tensors = {}
    for spec in architecture.tensors():
        name = spec.name
        if not _is_plain(spec):
            tensors[name] = _code(model, spec)
    stream.check_end()
    return tensors, _counted(architecture, model.groups if opened.is_sorted else [])


def _counted(architecture: Architecture, groups: list[int]) -> dict[str, int]:
    """The numbers of groups by name, of those weights whose rows are sorted."""
    return {k: n for k, n in zip(_sortable(architecture), groups, strict=bool(groups)) if n}


def _decode_in_c(
    opened: Opened, data: memoryview
) -> tuple[dict[str, Quantised | np.ndarray], dict[str, int]] | None:
    """What `_decode_stream` returns, from the decoder in C; None where that is of no use."""
    architecture = opened.architecture
    specs = [spec for spec in architecture.tensors() if not _is_plain(spec)]
    decisions = sum(map(_decisions, specs))
    if opened.coder not in NUMBERED or decisions < USED_FROM:
        return None
    from .c_decoder import decode_stream
    from .coded import coded_tensors

    coded = coded_tensors(architecture, specs)
    found = decode_stream(coded, data, opened.in_c, opened.is_sorted, decisions)
    if found is None:
        return None
    tensors = {
        spec.name: _from_bytes(tensor, spec) if spec.role == "raw" else tensor
        for spec, tensor in zip(specs, found[0], strict=True)
    }
    return tensors, _counted(architecture, found[1])


def _model(
    architecture: Architecture,
    model_class: type,
    stream: Stream | BitStream | TwoStreams,
    charge: Callable[[str], None] = lambda part: None,
    groups: Iterable[int] | None = None,
    predicts: bool = False,
) -> Model | Published:
    """What codes the tensors: of a graph it knows which tensors lend each other their units."""
    if model_class is not Model:
        return model_class(stream, charge)
    if architecture.version() == GRAPHS:
        from .coded import coded_tensors
        from .graph_lenders import LendingModel

        coded = coded_tensors(architecture, architecture.tensors())
        return LendingModel(coded, stream, charge, groups, predicts)
    return Model(stream, charge, groups, predicts)


def _verified(data: bytes) -> memoryview:
    """The file less its checksum, once that, the magic and the version are right."""
    if len(data) > MAX_FILE:
        raise CorruptFile(f"{len(data)} bytes are more than any bitsback file has")
    if len(data) < len(MAGIC) + 2 + CHECKSUM or data[: len(MAGIC)] != MAGIC:
        what = "it is empty" if not data else f"{len(data)} bytes"
        raise CorruptFile(f"not a bitsback file, or only the beginning of one ({what})")
    body = memoryview(data)[:-CHECKSUM]
    if zlib.crc32(body) != int.from_bytes(data[-CHECKSUM:], "little"):
        raise CorruptFile("the checksum does not match: the file is damaged or incomplete")
    verify_version(data[len(MAGIC)])
    return body


def verify_version(version: int) -> None:
    """Raise UnsupportedVersion or CorruptFile for a format version that this code cannot read."""
    if version > VERSION:
        raise UnsupportedVersion(
            f"the file has format version {version}, this bitsback reads up to {VERSION}: update it"
        )
    if version < 1 or version == PREDICTED + PACKED:
        raise CorruptFile(f"there is no format version {version}")


def is_packed(data: bytes) -> bool:
    """Whether the bytes begin as a packed checkpoint."""
    return bytes(data[: len(MAGIC) + 1]) in (MAGIC + number for number in PACKED_VERSIONS)


def _code(
    model: Model | Published, spec: TensorSpec, tensor: Quantised | np.ndarray | None = None
) -> Quantised | np.ndarray:
    """Code one tensor, or read it if none is given."""
    if spec.role == "mask":
        return model.mask(prod(spec.shape), tensor).reshape(spec.shape)
    if spec.role == "raw":
        stride = np.dtype(spec.dtype).itemsize
        data = None if tensor is None else _to_bytes(tensor)
        return _from_bytes(model.octets(prod(spec.shape) * stride, stride, data), spec)
    return model.tensor(tuple(spec.shape), spec.role, tensor)


def plain_size(architecture: Architecture) -> int:
    """Bytes of the tensors that stand before the stream as they are."""
    plain = filter(_is_plain, architecture.tensors())
    return sum(prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in plain)


def _is_plain(spec: TensorSpec) -> bool:
    """Whether a tensor's bytes stand before the stream as they are."""
    return spec.role == "raw" and prod(spec.shape) * np.dtype(spec.dtype).itemsize > CODED_RAW


def _admit(architecture: Architecture, fast: bool, size: int) -> None:
    """Raise ValueError for more weights and decisions than a file of `size` bytes may hold."""
    specs = [spec for spec in architecture.tensors() if not _is_plain(spec)]
    if fast:
        check_weights(sum(prod(spec.shape) for spec in specs if spec.role == "weight"), size)
        specs = [spec for spec in specs if spec.role != "weight"]
    check_decisions(sum(map(_decisions, specs)), size)


def _decisions(spec: TensorSpec) -> int:
    """A lower bound on the decisions that a tensor takes in a stream."""
    return prod(spec.shape) * (8 * np.dtype(spec.dtype).itemsize if spec.role == "raw" else 1)


def _to_bytes(array: np.ndarray) -> bytes:
    """Little-endian, in C order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _from_bytes(data: bytes | memoryview, spec: TensorSpec) -> np.ndarray:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "b" and np.frombuffer(data, dtype=np.uint8).max(initial=0) > 1:
        raise CorruptFile(f"tensor {spec.name!r} in the file is not boolean")
    array = np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype)
    return array.reshape(spec.shape)


def _read_varint(data: memoryview, place: int) -> tuple[int, int]:
    """A varint of at most three bytes at `place`, in its shortest form, and the place after it."""
    value = 0
    for k, octet in enumerate(data[place : place + 4]):
        value |= (octet & 0x7F) << 7 * k
        if octet < 0x80:
            if octet == 0 and k:
                break
            return value, place + k + 1
    raise CorruptFile("the length of the architecture in the file makes no sense")
