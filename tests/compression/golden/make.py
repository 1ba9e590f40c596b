"""Writes the golden files anew. Only for a new format version: old files are read for ever.

Files `*.range.bb` are of versions 1 to 9, which nothing writes any more.
"""

import hashlib
import json
from pathlib import Path

from bitsback.compression import file
from bitsback.compression.archive import Archive, Quantised

from tests.compression.packed.samples import golden, packed, read, weights
from tests.compression.samples import (
    archive,
    conv_net,
    dense_net,
    folded_net,
    graph_net,
    short_net,
    with_sorted_rows,
)

FOLDER = Path(__file__).parent


def digests(source: Archive) -> dict[str, str]:
    """The SHA-256 of each tensor."""
    arrays = {
        key: value.values() if isinstance(value, Quantised) else value
        for key, value in source.tensors.items()
    }
    return {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}


def main() -> None:
    known = json.loads((FOLDER / "sha256.json").read_text())
    networks = (
        ("dense", dense_net, None),
        ("conv", conv_net, None),
        ("graph", graph_net, "a-name"),
    )
    short = (("short", short_net, "digits-mlp"), ("folded", folded_net, "lenet-5-caffe"))
    for name, make, label in (*networks, *short):
        for coder in ("small", "huffman", "fast"):
            if name != "dense" and coder == "huffman":
                continue
            source = archive(make(), label=label)
            (FOLDER / f"{name}.{coder}.bb").write_bytes(file.encode(source, coder))
            known[f"{name}.{coder}"] = digests(source)
    networks += short
    for name, make, label in (n for n in networks if n[0] != "dense"):
        source = with_sorted_rows(archive(make(), label=label))
        (FOLDER / f"{name}-sorted.small.bb").write_bytes(file.encode(source))
        known[f"{name}-sorted.small"] = digests(source)
    for name, data in (
        ("packed.lossless", packed(golden())),
        ("packed.lossy", packed(weights(), 0.4)),
        ("packed.fast", packed(weights(), 0.4, "fast")),
    ):
        (FOLDER / f"{name}.bb").write_bytes(data)
        known[name] = {k: hashlib.sha256(bits).hexdigest() for k, bits in read(data).items()}
    (FOLDER / "sha256.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
