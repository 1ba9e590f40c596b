"""What is in a packed file and what it takes: the figures of `bitsback inspect`."""

from typing import Any

import numpy as np

from ..codec import CHECKSUM
from .header import Item
from .reader import PackedReader

WORDS = ("common stream", "byte planes", "integers", "fast integers")  # by the number of the form


def inspect_packed(data: bytes) -> dict[str, Any]:
    """As `compression.inspection.inspect`, for a packed checkpoint.

    `items` has the bytes of the header, of the tensors by how they are coded, and of the checksum.
    `layers` has every tensor but those in the common stream, whose bytes are shared. `ties` is
    the number of further names.

    :raises CorruptFile: the file is damaged.
    """
    reader = PackedReader(data)
    items = dict.fromkeys(("header", *WORDS, "checksum"), 0.0)
    items |= {WORDS[0]: float(reader.small_size), "checksum": float(CHECKSUM)}
    layers = []
    for item, bits, size in reader.tensors():
        if size:
            items[WORDS[item.form]] += size
            layers.append(_layer(item, bits, size))
    items["header"] = len(data) - sum(items.values())
    return {
        "bytes": len(data),
        "version": data[3],
        "coder": "fast and deflate" if reader.header.fast else "small and deflate",
        "label": None,
        "tensors": len(reader.header.order),
        "ties": len(reader.header.ties),
        "items": items,
        "layers": layers,
    }


def _layer(item: Item, bits: np.ndarray, size: int) -> dict[str, Any]:
    """One tensor; -0.0 counts as kept, because its bits are not all zero."""
    kept = int(np.count_nonzero(bits))
    rows = bits.reshape(item.shape[0], -1) if len(item.shape) > 1 else bits.reshape(-1, 1)
    return {
        "name": item.name,
        "shape": list(item.shape),
        "dtype": item.kind.name,
        "form": WORDS[item.form],
        "total": item.count,
        "kept": kept,
        "kept_units": int(rows.any(axis=1).sum()),
        "bytes": float(size),
        "parts": {WORDS[item.form]: float(size)},
        "bits_per_weight": 8 * size / kept if kept else 0.0,
    }
