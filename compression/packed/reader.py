"""Packed files, read tensor by tensor; untrusted, so that every size is checked before it is used.

The order of checks is that of all versions: length, magic, checksum, version.
"""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from ..codec import CHECKSUM, MAGIC, PACKED, PACKED_FAST, verify_version
from ..errors import CorruptFile
from ..limits import MAX_WEIGHTS_PER_BYTE
from .bounded import Body, checksum, inflate, length
from .fast_integers import FAST_STRIP, decode_fast
from .header import COMMON, FAST_INTEGERS, INTEGERS, MAX_HEADER, PLANES, Header, Item, read_header
from .integers import ELEMENTS_PER_BYTE, STRIP, decode_integers, strips
from .planes import decode_planes
from .small import MOST, decode_small

DEFLATE_RATIO = 1_032  # bytes that a byte of a deflate stream can come to


class PackedReader:
    """A packed file, open for reading.

    :param file: open in binary mode, or the bytes of the file.
    :raises CorruptFile: the file is damaged or no bitsback file.
    :raises ValueError: it is a whole bitsback file of another kind: a compressed network.
    """

    def __init__(self, file: BinaryIO | bytes) -> None:
        file = io.BytesIO(file) if isinstance(file, bytes) else file
        self.size = length(file)
        version = _verify(file, self.size)
        self._body = Body(file, len(MAGIC) + 1, self.size - CHECKSUM)
        listed = self._body.varint(MAX_HEADER)
        deflated = self._body.take(self._body.varint(MAX_HEADER))
        data = inflate(deflated, listed)
        if len(data) != listed:
            raise CorruptFile("the list of tensors in the file has another length than it says")
        self.header: Header = read_header(data, version == PACKED_FAST)
        self._check_sizes()
        small = [item for item in self.header.items if item.form == COMMON]
        before = self._body.left
        coded = self._body.take(self._body.varint())
        if len(coded) > 0 and not small:
            raise CorruptFile("the file has a stream of small tensors but none of them")
        self._small = decode_small(coded, small)
        self.small_size = before - self._body.left

    def tensors(self) -> Iterator[tuple[Item, np.ndarray, int]]:
        """Each tensor, its bits as unsigned integers of shape (n,), and the bytes that it takes.

        To be called once. Small tensors share `small_size` bytes and say 0.

        :raises CorruptFile: the file is damaged; found where the damage is.
        """
        for item in self.header.items:
            before = self._body.left
            bits = self._small.pop(item.name) if item.form == COMMON else self._decode(item)
            if item.kind.name == "bool" and bits.max(initial=0) > 1:
                raise CorruptFile(f"tensor {item.name!r} in the file is not boolean")
            yield item, bits, before - self._body.left
        self._body.end()

    def _decode(self, item: Item) -> np.ndarray:
        bits = np.empty(item.count, dtype=item.kind.unsigned)
        if item.form == INTEGERS:
            for first, shape in strips(item.shape):
                strip = decode_integers(self._body, shape, item.kind)
                bits[first : first + len(strip)] = strip
            return bits
        if item.form == FAST_INTEGERS:
            for first, shape in strips(item.shape, FAST_STRIP):
                strip = decode_fast(self._body, shape, item.kind)
                bits[first : first + len(strip)] = strip
            return bits
        for first in range(0, item.count, STRIP):
            count = min(STRIP, item.count - first)
            bits[first : first + count] = decode_planes(self._body, count, item.kind)
        return bits

    def _check_sizes(self) -> None:
        """Refuse a file that declares more than its bytes can hold, before memory is taken."""
        items = self.header.items
        if sum(item.size for item in items if item.form == COMMON) > MOST:
            raise CorruptFile(f"the small tensors in the file take more than {MOST} bytes")
        least = 0.0
        for item in items:
            if item.form == INTEGERS:
                least += item.count / ELEMENTS_PER_BYTE
            elif item.form == FAST_INTEGERS:
                least += item.count / MAX_WEIGHTS_PER_BYTE
            elif item.form == PLANES:
                least += item.size / DEFLATE_RATIO
        if least > self._body.left:
            raise CorruptFile("the file declares more elements than its bytes can hold")


def _verify(file: BinaryIO, size: int) -> int:
    """The version of a file, once magic and checksum are right."""
    file.seek(0)
    start = file.read(len(MAGIC) + 1)
    if size < len(MAGIC) + 2 + CHECKSUM or start[: len(MAGIC)] != MAGIC:
        what = "it is empty" if not start else f"its first bytes are {start.hex(' ')}"
        raise CorruptFile(f"not a bitsback file, or only the beginning of one ({what})")
    value = checksum(file, size - CHECKSUM)
    file.seek(size - CHECKSUM, os.SEEK_SET)
    if file.read(CHECKSUM) != value.to_bytes(CHECKSUM, "little"):
        raise CorruptFile("the checksum does not match: the file is damaged or incomplete")
    verify_version(start[len(MAGIC)])
    if start[len(MAGIC)] not in (PACKED, PACKED_FAST):
        raise ValueError("is a compressed network, not a packed checkpoint: use bitsback.load")
    return start[len(MAGIC)]
