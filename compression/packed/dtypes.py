"""The element types of packed tensors, and their bits as bytes that compress well.

A file stores the bits of a number, so that NaN payloads, -0.0 and denormals come back. The bits of
a float are rotated left by one: the sign moves from the highest place to the lowest. The first byte
of a float32 or bfloat16 is then its exponent, and all that no coder can compress stands last.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kind:
    """An element type.

    :param name: as torch calls it.
    :param code: as safetensors calls it.
    :param width: bytes of an element.
    :param mantissa: stored bits of the significand of a float; None for integers and bool.
    """

    name: str
    code: str
    width: int
    mantissa: int | None = None

    @property
    def unsigned(self) -> np.dtype:
        """The unsigned integers of the same width, which hold the bits in memory."""
        return np.dtype(f"u{self.width}")


# Numbered in this order in files: new ones come last.
KINDS = (
    Kind("float32", "F32", 4, 23),
    Kind("bfloat16", "BF16", 2, 7),
    Kind("float16", "F16", 2, 10),
    Kind("float64", "F64", 8, 52),
    Kind("int64", "I64", 8),
    Kind("int32", "I32", 4),
    Kind("int16", "I16", 2),
    Kind("int8", "I8", 1),
    Kind("uint8", "U8", 1),
    Kind("bool", "BOOL", 1),
    Kind("uint16", "U16", 2),
    Kind("uint32", "U32", 4),
    Kind("uint64", "U64", 8),
    Kind("float8_e4m3fn", "F8_E4M3", 1, 3),
    Kind("float8_e5m2", "F8_E5M2", 1, 2),
)
BY_NAME = {kind.name: kind for kind in KINDS}
BY_CODE = {kind.code: kind for kind in KINDS}
LOSSY = ("float32", "bfloat16", "float16", "float64")  # the types that an error bound applies to


def to_bytes(bits: np.ndarray, kind: Kind) -> np.ndarray:
    """The bytes of elements, the highest first: uint8, shape (n, width).

    :param bits: unsigned integers, shape (n,).
    """
    if kind.mantissa is not None:
        one, rest = kind.unsigned.type(1), kind.unsigned.type(8 * kind.width - 1)
        bits = (bits << one) | (bits >> rest)
    big = np.ascontiguousarray(bits, dtype=kind.unsigned.newbyteorder(">"))
    return big.view(np.uint8).reshape(-1, kind.width)


def from_bytes(octets: np.ndarray, kind: Kind) -> np.ndarray:
    """The inverse of `to_bytes`: unsigned integers, shape (n,)."""
    big = np.ascontiguousarray(octets).reshape(-1).view(kind.unsigned.newbyteorder(">"))
    bits = big.astype(kind.unsigned)
    if kind.mantissa is not None:
        one, rest = kind.unsigned.type(1), kind.unsigned.type(8 * kind.width - 1)
        bits = (bits >> one) | (bits << rest)
    return bits


def to_floats(bits: np.ndarray, kind: Kind) -> np.ndarray:
    """The values of a float type of `LOSSY`, exactly: float64, same shape."""
    if kind.name == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(f"f{kind.width}").astype(np.float64)


def from_floats(values: np.ndarray, kind: Kind) -> np.ndarray:
    """float32 values as the bits of a type of `LOSSY`, rounded to nearest, ties to even."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if kind.name == "bfloat16":
        bits = values.view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    with np.errstate(over="ignore"):  # the error bound is checked afterwards
        return values.astype(f"f{kind.width}").view(kind.unsigned)
