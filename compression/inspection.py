"""What the bytes of a compressed file go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .codec import CHECKSUM, MAGIC, is_packed, read_archive

if TYPE_CHECKING:
    from .archive import Quantised
    from .nodes import TensorSpec

STRIP = 1 << 20  # integers looked at at a time
ITEMS = (
    "header", "shapes", "masks", "positions", "values", "codebooks", "biases", "raw", "checksum",
)  # fmt: skip


def inspect(data: bytes) -> dict:
    """What is in a file and what it costs.

    `items` says how many bytes go to each of `ITEMS` (fractions in 1/64 of a byte, since one
    arithmetic-coded stream holds most of them) and sums to `bytes`. `layers` has for each weight
    tensor its shape, `kept` nonzero weights of `total`, `kept_units` output units with any of
    them, `levels` distinct nonzero values, `bytes`, those of its `parts` (positions, values and
    codebooks; in the profile `fast` values include positions), and `bits_per_weight` of the kept
    ones. `coder` is the profile: "small", "fast" or "huffman".

    :raises CorruptFile: as `decode`.
    """
    if is_packed(data):
        from .packed.inspection import inspect_packed

        return inspect_packed(data)
    spent: dict[tuple[str, str], float] = {}

    def charge(name: str, part: str, bits: float) -> None:
        spent[name, part] = spent.get((name, part), 0.0) + bits

    archive, header = read_archive(data, charge)
    items = dict.fromkeys(ITEMS, 0.0)
    for (_, part), bits in spent.items():
        items[part] += bits / 8
    items |= {"shapes": float(header["shapes"]), "checksum": float(CHECKSUM)}
    items = {item: round(count * 64) / 64 for item, count in items.items()}
    items["header"] = len(data) - sum(items.values())
    layers = []
    for spec in archive.architecture.tensors():
        if spec.role == "weight":
            parts = {part: bits / 8 for (name, part), bits in spent.items() if name == spec.name}
            layers.append(_layer(spec, archive.tensors[spec.name], parts))
    return {
        "bytes": len(data),
        "version": data[len(MAGIC)],
        "coder": header["coder"],
        "label": archive.architecture.label,
        "items": items,
        "layers": layers,
    }


def _layer(spec: TensorSpec, tensor: Quantised, parts: dict[str, float]) -> dict:
    flat = tensor.codes.reshape(-1)
    strips = [flat[first : first + STRIP] for first in range(0, len(flat), STRIP)]
    levels = set().union(*(np.unique(strip).tolist() for strip in strips))
    kept = sum(int(np.count_nonzero(strip)) for strip in strips)
    units = kept
    if len(spec.shape) > 1 and kept:
        units = int((flat.reshape(spec.shape[0], -1) != 0).any(axis=1).sum())
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "total": len(flat),
        "kept": kept,
        "kept_units": units,
        "levels": len(levels - {0}),
        "bytes": sum(parts.values()),
        "parts": parts,
        "bits_per_weight": 8 * sum(parts.values()) / kept if kept else 0.0,
    }
