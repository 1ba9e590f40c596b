"""Numbers and strings as bytes: LEB128 varints, and a reader that trusts nothing it reads.

A varint holds 7 bits a byte, lowest first, the top bit saying that more follow. `Reader` checks
every bound and raises `CorruptFile`; it never allocates more than the bytes it was given.
"""

import struct
from collections.abc import Callable

from .errors import CorruptFile

MAX_COUNT = (1 << 31) - 1  # no dimension, count or option in an architecture is larger


def varint(value: int) -> bytes:
    """The shortest LEB128 form of an integer >= 0."""
    if value < 0:
        raise ValueError(f"a varint holds no negative number ({value})")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    """A string: its UTF-8 length as a varint, then the bytes."""
    data = value.encode()
    return varint(len(data)) + data


def real(value: float) -> bytes:
    """A float64, little-endian."""
    return struct.pack("<d", value)


def decoded(data: bytes) -> str:
    """The name in bytes of UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CorruptFile("a name in the architecture is not UTF-8") from None


def read_varint(take: Callable[[int], bytes], limit: int, most: int, what: str) -> int:
    """A varint of at most `limit`, in its shortest form.

    :param take: gives the next so many bytes.
    :param most: bytes that it may have.
    :param what: for the message.
    :raises CorruptFile: it is none.
    """
    value = 0
    for shift in range(0, 7 * most, 7):
        byte = take(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or value > limit:
                break
            return value
    raise CorruptFile(f"{what} is not within 0..{limit}")


class Reader:
    """Reads what the functions above wrote, from untrusted bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._data) - self._at:
            raise CorruptFile("the architecture ends too early; the file is damaged")
        self._at += count
        return self._data[self._at - count : self._at]

    def varint(self, limit: int = MAX_COUNT) -> int:
        """A varint of at most `limit`, in its shortest form."""
        return read_varint(self.take, limit, 5, "a number in the architecture")

    def text(self, limit: int) -> str:
        """A string of at most `limit` bytes."""
        return decoded(self.take(self.varint(limit)))

    def real(self) -> float:
        """A float64."""
        return struct.unpack("<d", self.take(8))[0]

    def end(self) -> None:
        """Raise unless every byte has been read."""
        if self._at != len(self._data):
            raise CorruptFile(f"{len(self._data) - self._at} bytes too many in the architecture")
