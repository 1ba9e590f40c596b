"""Writes the golden files anew. Only for a new format version: old files are read for ever."""

import hashlib
import json
from pathlib import Path

from bitsback.compression import file
from bitsback.compression.archive import Quantised

from tests.compression.packed.samples import golden, packed, read, weights
from tests.compression.samples import archive, conv_net, dense_net, folded_net, graph_net, short_net

FOLDER = Path(__file__).parent


def main() -> None:
    known = {}
    networks = (
        ("dense", dense_net, None),
        ("conv", conv_net, None),
        ("graph", graph_net, "a-name"),
    )
    short = (("short", short_net, "digits-mlp"), ("folded", folded_net, "lenet-5-caffe"))
    for name, make, label in (*networks, *short):
        for coder in ("range", "huffman"):
            if name != "dense" and coder == "huffman":
                continue
            source = archive(make(), label=label)
            (FOLDER / f"{name}.{coder}.bb").write_bytes(file.encode(source, coder))
            known[f"{name}.{coder}"] = {
                key: hashlib.sha256(
                    (value.values() if isinstance(value, Quantised) else value).tobytes()
                ).hexdigest()
                for key, value in source.tensors.items()
            }
    for name, data in (
        ("packed.lossless", packed(golden())),
        ("packed.lossy", packed(weights(), 0.4)),
    ):
        (FOLDER / f"{name}.bb").write_bytes(data)
        known[name] = {k: hashlib.sha256(bits).hexdigest() for k, bits in read(data).items()}
    (FOLDER / "sha256.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
