"""From a checkpoint to the parts of a packed file (format version 5).

The coded tensors stay in memory until the header, which stands before them, is known. Of the
tensors themselves one is in memory at a time, and the small ones.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..codec import CHECKSUM, FAST_FROM, MAGIC, PACKED, PACKED_FAST
from ..wire import varint
from .checkpoint import Checkpoint, Source
from .dtypes import LOSSY
from .header import COMMON, FAST_INTEGERS, INTEGERS, PLANES, Header, Item, is_matrix
from .integers import STRIP
from .lossy import bound_of, lossy_matrix, lossy_vector, not_finite, rms_of
from .planes import deflate, encode_planes
from .small import MOST, SMALL, encode_small

PROFILES = ("small", "fast")  # of the integers of a matrix
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Packed:
    """A packed file and what became of each tensor.

    :param parts: the file's bytes, in pieces.
    :param header: its header.
    :param bounds: by name, for each tensor that is not exact: the E of its error bound, in units
        of the tensor's root mean square.
    """

    parts: list[bytes]
    header: Header
    bounds: dict[str, float]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(map(len, self.parts))


def encode(
    checkpoint: Checkpoint,
    max_error: float | None = None,
    progress: Progress = lambda done, total, name: None,
    coder: str | None = None,
) -> Packed:
    """The packed file of a checkpoint.

    :param max_error: None: every bit is kept. Else how far a value of the largest tensor may be
        off, in units of its root mean square; see `lossy`.
    :param progress: told the bytes done, the bytes in all and the tensor that comes next.
    :param coder: of matrices with a `max_error`: "small" or "fast". None: "fast" from 1,048,576
        elements of them on.
    :raises ValueError: the checkpoint is beyond the format's limits, or `max_error` is not in
        (0, 1], or is given where a tensor holds NaN or infinity; or there is no such coder.
    """
    if max_error is not None and not 0 < max_error <= 1:
        raise ValueError(f"max_error {max_error}: must be above 0 and at most 1")
    if coder not in (None, *PROFILES):
        raise ValueError(f"coder {coder!r}: must be one of {', '.join(PROFILES)} for a checkpoint")
    plan = [Item(s.name, s.shape, s.kind, PLANES) for s in checkpoint.sources]
    _header(checkpoint, plan).to_bytes()  # the limits, before any work
    if max_error is not None:
        _check_finite(checkpoint)
    work = _Work(checkpoint, max_error, coder)
    total, done = sum(item.size for item in plan), 0
    for source, item in zip(checkpoint.sources, plan, strict=True):
        progress(done, total, source.name)
        work.code(source)
        done += item.size
    progress(total, total, "")
    return work.finish()


class _Work:
    """The tensors coded so far."""

    def __init__(
        self, checkpoint: Checkpoint, max_error: float | None, coder: str | None = None
    ) -> None:
        self._checkpoint, self._max_error = checkpoint, max_error
        matrices = [s.count for s in checkpoint.sources if _is_lossy_matrix(s)]
        self._largest = max(matrices, default=1)
        self._fast = coder == "fast" or (coder is None and sum(matrices) >= FAST_FROM)
        self._items: list[Item] = []
        self._small: list[tuple[Item, np.ndarray]] = []
        self._room = MOST
        self._blocks: list[bytes] = []
        self._bounds: dict[str, float] = {}

    def code(self, source: Source) -> None:
        """One tensor."""
        bits = source.bits()
        if self._max_error is not None and source.kind.name in LOSSY:
            if is_matrix(source.shape):
                error = bound_of(source.count, self._largest, self._max_error)
                rms = rms_of(bits, source.kind)
                fast = self._fast
                coded = lossy_matrix(bits, source.shape, source.kind, error * rms, fast)
                if coded is not None:
                    self._add(source, FAST_INTEGERS if fast else INTEGERS, coded)
                    self._bounds[source.name] = error
                    return
            else:
                rms = rms_of(bits, source.kind)
                rounded = lossy_vector(bits, source.kind, rms, self._max_error)
                if rounded is not bits:
                    self._bounds[source.name] = self._max_error
                bits = rounded
        self._exact(source, bits)

    def _exact(self, source: Source, bits: np.ndarray) -> None:
        size = source.count * source.kind.width
        if source.count <= SMALL and size <= self._room:
            self._room -= size
            self._small.append((self._add(source, COMMON, []), bits))
            return
        strips = range(0, source.count, STRIP)
        planes = [encode_planes(bits[first : first + STRIP], source.kind) for first in strips]
        self._add(source, PLANES, planes)

    def _add(self, source: Source, form: int, blocks: list[bytes]) -> Item:
        item = Item(source.name, source.shape, source.kind, form)
        self._items.append(item)
        self._blocks += blocks
        return item

    def finish(self) -> Packed:
        """The whole file."""
        header = _header(self._checkpoint, self._items)
        listed = header.to_bytes()
        deflated = deflate(listed)
        small = encode_small([item for item, _ in self._small], [bits for _, bits in self._small])
        version = PACKED_FAST if header.fast else PACKED
        start = MAGIC + bytes([version]) + varint(len(listed)) + varint(len(deflated)) + deflated
        parts = [start + varint(len(small)) + small, *self._blocks]
        value = 0
        for part in parts:
            value = zlib.crc32(part, value)
        parts.append(value.to_bytes(CHECKSUM, "little"))
        return Packed(parts, header, self._bounds)


def _is_lossy_matrix(source: Source) -> bool:
    return source.kind.name in LOSSY and is_matrix(source.shape)


def _header(checkpoint: Checkpoint, items: list[Item]) -> Header:
    return Header(tuple(items), checkpoint.ties, checkpoint.order, checkpoint.metadata)


def _check_finite(checkpoint: Checkpoint) -> None:
    for source in checkpoint.sources:
        if source.kind.name in LOSSY and not_finite(source.bits(), source.kind):
            raise ValueError(
                f"{source.name!r} holds NaN or infinity, for which there is no error bound: leave "
                "out --max-error (max_error)"
            )
