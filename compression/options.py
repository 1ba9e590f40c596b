"""The types that a layer's options can have, and how each is written in a file.

Each type has `check(value)`, which returns the value in the one form used here or raises
ValueError, and `write`/`read`, inverse to each other. `read` checks what it has read.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

from .wire import MAX_COUNT, Reader, real, varint


@dataclass(frozen=True)
class Count:
    """An integer from `least` to `most`."""

    least: int = 1
    most: int = MAX_COUNT

    def check(self, value: Any) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise ValueError(f"{value!r} is not an integer within {self.least}..{self.most}")
        return value

    def write(self, value: int) -> bytes:
        return varint(value)

    def read(self, reader: Reader) -> int:
        return self.check(reader.varint())


@dataclass(frozen=True)
class Axis:
    """A dimension's number, negative from the end; written in zigzag order 0, -1, 1, -2, ..."""

    def check(self, value: Any) -> int:
        if type(value) is not int or not -8 <= value < 8:
            raise ValueError(f"{value!r} is not the number of a dimension")
        return value

    def write(self, value: int) -> bytes:
        return varint(2 * value if value >= 0 else -2 * value - 1)

    def read(self, reader: Reader) -> int:
        code = reader.varint(15)
        return -(code + 1) // 2 if code & 1 else code // 2


@dataclass(frozen=True)
class Flag:
    """A bool: being different from its default says it all, so it takes no bytes."""

    default: bool

    def check(self, value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError(f"{value!r} is not a bool")
        return value

    def write(self, value: bool) -> bytes:
        return b""

    def read(self, reader: Reader) -> bool:
        return not self.default


@dataclass(frozen=True)
class Real:
    """A float64 that is not NaN; NaN stands for None where `optional`."""

    optional: bool = False

    def check(self, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"{value!r} is not a number")
        return float(value)

    def write(self, value: float | None) -> bytes:
        return real(math.nan if value is None else value)

    def read(self, reader: Reader) -> float | None:
        value = reader.real()
        return self.check(None if self.optional and math.isnan(value) else value)


@dataclass(frozen=True)
class Step:
    """A positive, normal, finite bfloat16 number: the upper half of a float32, little-endian."""

    def check(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number")
        pattern = _pattern(value)
        if pattern & 0xFFFF or not 0x0080_0000 <= pattern < 0x7F80_0000:
            raise ValueError(f"{value!r} is not a positive, normal bfloat16 number")
        return float(value)

    def write(self, value: float) -> bytes:
        return (_pattern(value) >> 16).to_bytes(2, "little")

    def read(self, reader: Reader) -> float:
        return self.check(struct.unpack("<f", b"\0\0" + reader.take(2))[0])


def _pattern(value: float) -> int:
    """The bits of a float32; 0 for what is none."""
    try:
        data = struct.pack("<f", value)
    except OverflowError:
        return 0
    return int.from_bytes(data, "little") if struct.unpack("<f", data)[0] == value else 0


@dataclass(frozen=True)
class Sizes:
    """One integer for each of `dims` dimensions: a single number if they are all equal."""

    dims: int
    least: int = 1

    def check(self, value: Any) -> tuple[int, ...] | None:
        if value is None:  # "the layer's own default", only ever met as a default
            return None
        value = tuple(value) if isinstance(value, tuple | list) else (value,) * self.dims
        if len(value) != self.dims:
            raise ValueError(f"{value!r} does not have {self.dims} entries")
        return tuple(Count(self.least).check(v) for v in value)

    def write(self, value: tuple[int, ...]) -> bytes:
        if len(set(value)) == 1:
            return varint(2 * value[0])
        return varint(2 * value[0] + 1) + b"".join(varint(v) for v in value[1:])

    def read(self, reader: Reader) -> tuple[int, ...]:
        first = reader.varint()
        rest = [reader.varint() for _ in range(self.dims - 1)] if first & 1 else []
        return self.check((first // 2, *rest) if rest else first // 2)


@dataclass(frozen=True)
class Padding:
    """The padding of a convolution: `Sizes`, or "same", or "valid"."""

    dims: int

    def check(self, value: Any) -> tuple[int, ...] | str:
        return value if value in ("same", "valid") else Sizes(self.dims, 0).check(value)

    def write(self, value: tuple[int, ...] | str) -> bytes:
        if isinstance(value, str):
            return varint(("same", "valid").index(value))
        return varint(2) + Sizes(self.dims, 0).write(value)

    def read(self, reader: Reader) -> tuple[int, ...] | str:
        form = reader.varint(2)
        return Sizes(self.dims, 0).read(reader) if form == 2 else ("same", "valid")[form]


@dataclass(frozen=True)
class Shape:
    """The lengths of 1 to 8 dimensions."""

    def check(self, value: Any) -> tuple[int, ...]:
        if not 1 <= len(value) <= 8:
            raise ValueError(f"{value!r} does not have 1 to 8 dimensions")
        return tuple(Count().check(v) for v in value)

    def write(self, value: tuple[int, ...]) -> bytes:
        return varint(len(value)) + b"".join(varint(v) for v in value)

    def read(self, reader: Reader) -> tuple[int, ...]:
        return self.check([reader.varint() for _ in range(reader.varint(8))])


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: Any) -> str:
        if value not in self.words:
            raise ValueError(f"{value!r} is none of {', '.join(self.words)}")
        return value

    def write(self, value: str) -> bytes:
        return varint(self.words.index(value))

    def read(self, reader: Reader) -> str:
        return self.words[reader.varint(len(self.words) - 1)]
