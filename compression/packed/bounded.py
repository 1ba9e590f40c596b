"""Reading a packed file piece by piece, never more than the file has or a limit allows."""

import os
import zlib
from typing import BinaryIO

from ..errors import CorruptFile
from ..wire import read_varint

PIECE = 1 << 20  # bytes read at a time for the checksum
MAX_VARINT = (1 << 40) - 1


class Body:
    """The part of a file between two places, read from front to back.

    :param file: open for reading in binary mode; its position belongs to this object.
    """

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self.left = file, end - start
        file.seek(start)

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        :raises CorruptFile: there are fewer.
        """
        if size > self.left:
            raise CorruptFile("the file ends within a tensor; it is damaged")
        data = self._file.read(size)
        if len(data) != size:
            raise CorruptFile("the file became shorter while it was read")
        self.left -= size
        return data

    def varint(self, limit: int = MAX_VARINT) -> int:
        """A varint of at most `limit`, in its shortest form."""
        return read_varint(self.take, limit, 6, "a length in the file")

    def strip(self, count: int, most: int) -> bytes:
        """The bytes of a strip of so many integers, its length before them.

        :param most: integers for each byte that a strip may have.
        :raises CorruptFile: it says that it has more.
        """
        data = self.take(self.varint())
        if count > most * len(data):
            raise CorruptFile("the file declares more weights than its bytes can hold")
        return data

    def end(self) -> None:
        """Raise CorruptFile unless every byte has been read."""
        if self.left:
            raise CorruptFile(f"{self.left} bytes too many behind the last tensor")


def inflate(data: bytes, size: int) -> bytes:
    """The content of a raw deflate stream: at most `size` bytes are ever made.

    :raises CorruptFile: the stream is damaged, longer than `size`, or has bytes behind it.
    """
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(data, size + 1)
    except zlib.error:
        raise CorruptFile("a deflated part of the file is damaged") from None
    if len(content) > size or not unpacker.eof or unpacker.unused_data:
        raise CorruptFile(f"a deflated part of the file does not hold {size} bytes and no more")
    return content


def checksum(file: BinaryIO, size: int) -> int:
    """CRC-32 of the first `size` bytes."""
    file.seek(0)
    value, left = 0, size
    while left and (piece := file.read(min(left, PIECE))):
        value, left = zlib.crc32(piece, value), left - len(piece)
    return value


def length(file: BinaryIO) -> int:
    """Bytes of a file."""
    return file.seek(0, os.SEEK_END)
