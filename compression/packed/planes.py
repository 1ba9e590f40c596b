"""One strip of elements without loss: each byte plane by itself, deflated or as it is.

Plane k holds byte k of every element. The exponents of trained weights deflate to about a third.
Most bytes of significands are noise, which stays as it is: a sample of the plane tells.
"""

import zlib

import numpy as np

from ..errors import CorruptFile
from ..wire import varint
from .bounded import Body, inflate
from .dtypes import Kind, from_bytes, to_bytes

RAW, DEFLATED = range(2)
SAMPLE = 1 << 16  # bytes at either end of a plane on which strategies are compared
WORTH = 0.998  # share of a sample that deflating must at least come to


def encode_planes(bits: np.ndarray, kind: Kind) -> bytes:
    """The planes of one strip, one behind the other.

    :param bits: unsigned integers, shape (n,).
    """
    octets = to_bytes(bits, kind)
    return b"".join(_encode(np.ascontiguousarray(octets[:, k])) for k in range(kind.width))


def decode_planes(body: Body, count: int, kind: Kind) -> np.ndarray:
    """The bits of `count` elements: unsigned integers, shape (count,).

    :raises CorruptFile: the planes are damaged, or not of `count` bytes.
    """
    octets = np.empty((count, kind.width), dtype=np.uint8)
    for k in range(kind.width):
        size, method = divmod(body.varint(2 * count + 1), 2)
        data = body.take(size)
        if method == DEFLATED:
            data = inflate(data, count)
        if len(data) != count:
            raise CorruptFile(f"a byte plane of {len(data)} bytes where {count} belong")
        octets[:, k] = np.frombuffer(data, dtype=np.uint8)
    return from_bytes(octets, kind)


def deflate(data: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """A raw deflate stream (RFC 1951) at the best level."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return packer.compress(data) + packer.flush()


def _encode(plane: np.ndarray) -> bytes:
    data = plane.tobytes()
    strategy = _strategy(data)
    if strategy is not None:
        packed = deflate(data, strategy)
        if len(packed) < len(data):
            return varint(2 * len(packed) + DEFLATED) + packed
    return varint(2 * len(data) + RAW) + data


def _strategy(data: bytes) -> int | None:
    """How to deflate a plane: Huffman codes alone, or repeats as well. None: as it is."""
    sample = data if len(data) <= 2 * SAMPLE else data[:SAMPLE] + data[-SAMPLE:]
    sizes = {s: len(deflate(sample, s)) for s in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)}
    best = min(sizes, key=sizes.__getitem__)
    return best if sizes[best] < WORTH * len(sample) else None
