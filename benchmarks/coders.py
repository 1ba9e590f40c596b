"""The entropy coders on the same integers: bytes, and seconds to encode and to decode.

    python benchmarks/coders.py [FILE ...] [--made [NAME ...]] [--peers PYTHON] --json FILE
    python benchmarks/coders.py --sizes --json FILE

FILE is a compressed network, whose integers are coded again, or a safetensors file, whose matrices
are rounded and pruned (`coder_networks.py`). `--made` adds made-up networks of 1 kB to 11.7 million
weights, those named or all. For each network and coder: bytes, and user CPU seconds on one core.

- small, fast, huffman: whole files of this project with the weights alone, a grid for each tensor.
  huffman, in plain Python, up to 300,000 weights.
- small_without_predictions: a file of the versions before 15.
- order_0: n times the entropy of each tensor's n integers; rows_by_columns: the cross-entropy of
  "nonzero" under a logistic model of its row and its column, fitted to these, plus the entropy of
  the nonzero integers. Tables are not counted in either: no file can have these sizes.
- the coders of `coder_peers.py`, run by PYTHON, which has them installed.

`--sizes` codes square matrices of 10^4 to 10^8 weights in the profile `fast`, each in a
process of its own, and adds the memory that decoding takes at its most.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.codec import CODERS, decode, encode
from bitsback.compression.context import Model
from bitsback.compression.nodes import TensorSpec
from bitsback.compression.range_coder import Stream
from coder_networks import MADE, made_up, of_file, square
from record import made_by
from user_seconds import timed

MOST_HUFFMAN = 300_000
ROUNDS = 12  # of the fit of rows and columns
SIZES = [10**k for k in range(4, 9)]


def archive_of(tensors: list[np.ndarray]) -> Archive:
    """Tensors of integers as a network that is described by its tensors."""
    names = [str(k) for k in range(len(tensors))]
    specs = [
        TensorSpec(n, t.shape, "weight", "float32") for n, t in zip(names, tensors, strict=True)
    ]
    coded = {n: Quantised(t, Uniform(1.0)) for n, t in zip(names, tensors, strict=True)}
    return Archive(Architecture(None, tuple(specs)), coded)


def ours(archive: Archive, coder: str) -> dict:
    """The figures of one of this project's coders."""
    data, encoding = timed(lambda: encode(archive, coder))
    again, decoding = timed(lambda: decode(data))
    assert all(again.tensors[name] == tensor for name, tensor in archive.tensors.items())
    return {"bytes": len(data), "encode_seconds": encoding, "decode_seconds": decoding}


def without_predictions(archive: Archive) -> int:
    """Bytes of a file of the profile `small` as the versions before 15 have it."""
    streams = {}
    for predicts in (False, True):
        model = Model(Stream(), predicts=predicts)
        for tensor in archive.tensors.values():
            model.tensor(tensor.codes.shape, "weight", tensor)
        streams[predicts] = len(model.finish())
    return len(encode(archive, "small")) - streams[True] + streams[False]


def entropy(values: np.ndarray) -> float:
    """Bytes of integers at their own frequencies."""
    _, counts = np.unique(values, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def rows_by_columns(tensor: np.ndarray) -> float:
    """Bytes by the densities of rows and of columns; see above."""
    table = tensor.reshape(len(tensor), -1)
    flags = table != 0
    wanted = [flags.sum(axis=k, keepdims=True) for k in (1, 0)]
    odds = [np.zeros((len(table), 1)), np.zeros((1, table.shape[1]))]
    for _ in range(ROUNDS):
        for k in (0, 1):
            chance = 1 / (1 + np.exp(-(odds[0] + odds[1])))
            gap = wanted[k] - chance.sum(axis=1 - k, keepdims=True)
            slope = (chance * (1 - chance)).sum(axis=1 - k, keepdims=True)
            odds[k] = np.clip(odds[k] + np.clip(gap / (slope + 0.1), -2, 2), -12, 12)
    logits = np.where(flags, 1, -1) * (odds[0] + odds[1])
    return float(np.logaddexp(0, -logits).sum() / np.log(2) / 8) + entropy(table[flags])


def peers(tensors: list[np.ndarray], python: str) -> dict:
    """The figures of `coder_peers.py`."""
    script = Path(__file__).with_name("coder_peers.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "integers.npz"
        np.savez(path, *tensors)
        run = subprocess.run([python, script, path], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{python} {script.name}: {run.stderr}")
    return json.loads(run.stdout)


def compare(tensors: list[np.ndarray], python: str | None) -> dict:
    """The figures of one network."""
    archive = archive_of(tensors)
    weights = sum(t.size for t in tensors)
    coders = [c for c in CODERS if c != "huffman" or weights <= MOST_HUFFMAN]
    found = {
        "weights": weights,
        "nonzero": int(sum(np.count_nonzero(t) for t in tensors)),
        "order_0_bytes": sum(map(entropy, tensors)),
        "rows_by_columns_bytes": sum(map(rows_by_columns, tensors)),
        "small_without_predictions_bytes": without_predictions(archive),
        "coders": {coder: ours(archive, coder) for coder in coders},
    }
    if python:
        found["coders"] |= {k: v for k, v in peers(tensors, python).items() if v}
    return found


def size(weights: int) -> dict:
    """Seconds and memory of the profile `fast` at so many weights, in this process."""
    encode(archive_of([square(200_000)]), "fast")  # compiles
    data, count, encoding = _encoded(weights)
    with get_context("spawn").Pool(1) as pool:  # a process that has held no integers so far
        decoding, before, peak = pool.apply(_decoded, (data,))
    return {
        "weights": count, "bytes": len(data), "encode_seconds": encoding,
        "decode_seconds": decoding, "decoding_bytes": peak - before,
    }  # fmt: skip


def _encoded(weights: int) -> tuple[bytes, int, float]:
    """A file of so many weights, how many they are exactly, and seconds to write it."""
    archive = archive_of([square(weights)])
    data, seconds = timed(lambda: encode(archive, "fast"))
    return data, archive.tensors["0"].codes.size, seconds


def _decoded(data: bytes) -> tuple[float, int, int]:
    """Seconds to decode; resident bytes before, and at the most."""
    small = encode(archive_of([square(200_000)]), "fast")
    decode(small)
    before = _resident("VmRSS")
    _, seconds = timed(lambda: decode(data))
    return seconds, before, _resident("VmHWM")


def _resident(field: str) -> int:
    """Bytes of this program in memory: now (VmRSS), or at their most (VmHWM). Linux only.

    getrusage would have those of the process that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def print_table(name: str, found: dict) -> None:
    """One line for each coder."""
    weights = found["weights"]
    print(f"{name}: {weights:,} weights, {found['nonzero']:,} nonzero")
    for bound in ("order_0", "rows_by_columns", "small_without_predictions"):
        print(f"  {bound:16}{found[bound + '_bytes']:14,.0f} bytes")
    for coder, row in found["coders"].items():
        rates = (weights / max(row[f"{way}_seconds"], 1e-9) / 1e6 for way in ("encode", "decode"))
        print(f"  {coder:16}{row['bytes']:14,} bytes {'{:9.2f} and {:9.2f}'.format(*rates)} Mw/s")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument(
        "--made", nargs="*", choices=MADE, help="made-up networks, too: all, or these"
    )
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with the other coders")
    parser.add_argument("--sizes", action="store_true", help="time and memory over 10^4 to 10^8")
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    given = parser.parse_args()
    if given.size:
        print(json.dumps(size(given.size)))
        return
    result = {**made_by(), "load_average_before": round(os.getloadavg()[0], 1)}
    result |= {"sizes": []} if given.sizes else {"networks": {}}
    if given.sizes:
        for weights in SIZES:
            command = [sys.executable, __file__, "--size", str(weights)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            result["sizes"].append(json.loads(run.stdout))
            print(result["sizes"][-1], flush=True)
    else:
        ours(archive_of([square(200_000)]), "small"), ours(archive_of([square(200_000)]), "fast")
        sources = [of_file(path) for path in given.files]
        networks = {name: tensors for source in sources for name, tensors in source.items()}
        made = () if given.made is None else given.made or MADE
        for name in [*networks, *made]:
            tensors = networks[name] if name in networks else made_up(name)
            result["networks"][name] = compare(tensors, given.peers)
            print_table(name, result["networks"][name])
            if given.json:
                given.json.write_text(json.dumps(result, indent=1) + "\n")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
