"""The small tensors of a packed file: one adaptive stream of the range coder for all of them.

Their elements stand one after the other, type by type in the order of `dtypes.KINDS`, as the bytes
of `dtypes.to_bytes`. So that biases and norms share statistics, and nobody pays for a table each.
"""

from collections.abc import Sequence

import numpy as np

from ..context import Model
from ..range_coder import Stream
from .dtypes import KINDS, from_bytes, to_bytes
from .header import Item

SMALL = 4_096  # elements of a tensor up to which a writer takes it into the stream
MOST = 1 << 19  # bytes in the stream before coding; 8 decisions each never exceed a budget


def encode_small(items: Sequence[Item], bits: Sequence[np.ndarray]) -> bytes:
    """The stream of these tensors; no bytes if there are none.

    :param bits: of each item, unsigned integers, shape (count,).
    """
    if not items:
        return b""
    stream = Stream()
    model = Model(stream)
    for kind in KINDS:
        parts = [
            to_bytes(value, kind).tobytes()
            for item, value in zip(items, bits, strict=True)
            if item.kind is kind
        ]
        if data := b"".join(parts):
            model.octets(len(data), kind.width, data)
    return stream.finish()


def decode_small(data: bytes, items: Sequence[Item]) -> dict[str, np.ndarray]:
    """The bits of these tensors by name; see `encode_small`.

    :raises CorruptFile: the stream does not hold exactly these.
    """
    if not items:
        return {}
    stream = Stream(data)
    model, found = Model(stream), {}
    for kind in KINDS:
        mine = [item for item in items if item.kind is kind]
        size = sum(item.size for item in mine)
        if not size:
            found |= {item.name: np.empty(0, kind.unsigned) for item in mine}
            continue
        octets = np.frombuffer(model.octets(size, kind.width), dtype=np.uint8)
        values = from_bytes(octets.reshape(-1, kind.width), kind)
        ends = np.cumsum([item.count for item in mine])[:-1]
        names = [item.name for item in mine]
        found |= dict(zip(names, np.split(values, ends), strict=True))
    stream.check_end()
    return found
