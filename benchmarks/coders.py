"""The entropy coders on the same networks, against the entropy of their symbols and against peers.

    python benchmarks/coders.py FILE... [--json FILE]

Each compressed file is decoded and its integers are coded again, by everything below; all sizes are
in bytes. Per weight tensor, and in all:

- range, huffman: this project's coders, codebooks and tables included. Their totals are whole
  files, with header, architecture, biases and checksum.
- published: the count of Deep Compression's tables: Huffman codes of values and of relative
  indices, and 32 bits for each codebook value; no tables, no biases.
- entropy: n times the empirical zero-order entropy of a tensor's n integers, zeros included, for
  positions and values together; no tables. A coder that knows more than frequencies can be below.
- constriction (if it is installed): its ANS coder with those frequencies, table not counted.
- zlib, bz2, lzma: the dense integers as int8 (int16 where they need it) at the best level.

Totals of the last five are sums over weight tensors.
"""

import argparse
import bz2
import json
import lzma
import zlib
from pathlib import Path

import numpy as np
from bitsback.compression.codec import decode, encode, inspect
from bitsback.compression.huffman import published_bits
from record import made_by

PEERS = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "lzma": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}


def entropy(codes: np.ndarray) -> float:
    """Bytes that the symbols of `codes`, any shape, need at their own frequencies."""
    _, counts = np.unique(codes, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def static_table(codes: np.ndarray) -> int | None:
    """Bytes of constriction's ANS coder at the symbols' frequencies; None without constriction."""
    try:
        from constriction.stream import model, stack
    except ImportError:
        return None
    _, symbols, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return 0
    table = model.Categorical((counts / counts.sum()).astype(np.float32), perfect=False)
    coder = stack.AnsCoder()
    coder.encode_reverse(symbols.reshape(-1).astype(np.int32), table)
    return coder.get_compressed().nbytes


def dense(codes: np.ndarray) -> bytes:
    """The integers themselves, in the smallest type that holds them."""
    kind = np.int8 if np.abs(codes).max(initial=0) < 128 else np.int16
    return np.ascontiguousarray(codes, dtype=kind).tobytes()


def compare(data: bytes) -> dict:
    """The figures of one compressed file: `layers` by name, and `total`."""
    archive = decode(data)
    files = {coder: encode(archive, coder) for coder in ("range", "huffman")}
    inspected = {
        coder: {layer["name"]: layer["bytes"] for layer in inspect(file)["layers"]}
        for coder, file in files.items()
    }
    published = published_bits(archive)
    layers = {}
    for name in inspected["range"]:
        codes = archive.tensors[name].codes
        layers[name] = {
            "weights": codes.size,
            "kept": int(np.count_nonzero(codes)),
            **{coder: sizes[name] for coder, sizes in inspected.items()},
            "published": published.get(name, 0) / 8,
            "entropy": entropy(codes),
            "constriction": static_table(codes),
            **{peer: len(pack(dense(codes))) for peer, pack in PEERS.items()},
        }
    keys = next(iter(layers.values()), {})
    total = {key: _sum([layer[key] for layer in layers.values()]) for key in keys}
    return {"layers": layers, "total": total | {k: len(file) for k, file in files.items()}}


def _sum(values: list) -> float | None:
    return None if None in values else sum(values)


def print_table(name: str, figures: dict) -> None:
    """One line for each tensor, and the total."""
    rows = figures["layers"] | {"total": figures["total"]}
    width = max(map(len, rows))
    print(f"{name}\n{'':{width}}", *(f"{key:>12}" for key in figures["total"]))
    for row, values in rows.items():
        cells = ("-" if v is None else f"{v:,.0f}" for v in values.values())
        print(f"{row:{width}}", *(f"{cell:>12}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="compressed networks")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    figures = {path.name: compare(path.read_bytes()) for path in options.files}
    for name, found in figures.items():
        print_table(name, found)
    if options.json:
        result = {**made_by(), "files": figures}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
