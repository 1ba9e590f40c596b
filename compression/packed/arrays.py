"""A packed checkpoint as numpy arrays, for `decode`."""

import numpy as np

from .dtypes import Kind
from .reader import PackedReader


def arrays_of_packed(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a packed checkpoint by name, in their order.

    :raises CorruptFile: the file is damaged.
    :raises ValueError: it has tensors of a type that numpy lacks; the message names one.
    """
    reader = PackedReader(data)
    for item in reader.header.items:
        if _dtype(item.kind) is None:
            raise ValueError(
                f"tensor {item.name!r} is {item.kind.name}, which numpy lacks: use bitsback.unpack"
            )
    found = {
        item.name: bits.view(_dtype(item.kind)).reshape(item.shape)
        for item, bits, _ in reader.tensors()
    }
    first = dict(reader.header.ties)
    return {name: found[first.get(name, name)] for name in reader.header.order}


def _dtype(kind: Kind) -> np.dtype | None:
    """numpy's type of the same bits; None if it has none."""
    is_own = kind.name == "bfloat16" or kind.name.startswith("float8")
    return None if is_own else np.dtype(kind.name)
