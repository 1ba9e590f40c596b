"""The decoder in C: its size, the memory that it takes, and from which file size on it is faster.

    python benchmarks/c_decoder.py --runs 5 [--sizes] --json FILE

`code` has the bytes of machine code at each optimization, and the largest frame on the stack.
`memory` has, for a LeNet-5 of about 1 kB and a ResNet-20 with a tenth of its weights, the bytes of
the file, of the decoded tensors (4 a number), and of the decoder's own memory. `decode` has the CPU
seconds of a fresh process that decodes one dense matrix, a tenth of it nonzero, by the number of
its weights: in plain Python, by numba with its cache filled, in C with the library built, and in C
where it has to be built first. `--sizes` leaves `decode` out.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from bitsback import trace
from bitsback.compression import file
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.c_library import FOLDER, compiler
from bitsback.compression.c_table import c_header
from bitsback.compression.describe import describe
from bitsback.workbench.networks import network
from cold_start import small_lenet, sparse
from record import made_by
from torch import nn

SIDES = (32, 64, 128, 256, 512, 1024, 2048)  # of the matrices
SETTINGS = {
    "python": "range_coder.COMPILE_FROM = 1 << 62; codec.USED_FROM = 1 << 62",
    "numba": "range_coder.COMPILE_FROM = 0; codec.USED_FROM = 1 << 62",
    "c": "codec.USED_FROM = 0",
    "c, to be built": "codec.USED_FROM = 0; c_decoder.BUILT_FROM = 0",
}
MOST_IN_PYTHON = 1024  # the side beyond which plain Python takes too long to wait for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="of each case")
    parser.add_argument("--sizes", action="store_true", help="code and memory only")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        result = made_by() | {
            "compiler": said(compiler(), "--version").splitlines()[0],
            "code": {level: code_bytes(work, level) for level in ("-Os", "-O2")},
            "memory": {
                "lenet-5": memory_of(work, small_lenet()),
                "resnet-20": memory_of(work, small_resnet()),
            },
        }
        if not options.sizes:
            result["decode"] = decode_seconds(work, options.runs)
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def code_bytes(work: Path, level: str) -> dict[str, int]:
    """Bytes of code and constants, and the largest stack frame, at an optimization level."""
    made = work / "decoder.o"
    source = str(FOLDER / "decoder.c")
    said(compiler(), "-std=c99", level, "-fstack-usage", "-c", source, "-o", str(made))
    text = int(said("size", str(made)).splitlines()[1].split()[0])
    frames = [int(line.split("\t")[1]) for line in made.with_suffix(".su").read_text().splitlines()]
    return {"bytes": text, "largest_frame": max(frames)}


def memory_of(work: Path, data: bytes) -> dict[str, int]:
    """Bytes that a file and its decoding take."""
    header = c_header(data)
    counts = header[header.index("enum { NET_") :].split("}")[0].split("{")[1].split(",")
    _, tensors, memory = (int(count.split("=")[1]) for count in counts)
    return {"file": len(data), "tensors": tensors, "decoder": memory}


def small_resnet() -> bytes:
    """A traced ResNet-20 of CIFAR-10 with a tenth of its weights, in 7 levels."""
    torch.manual_seed(0)
    net = trace(network("resnet-20").eval(), torch.zeros(2, 3, 32, 32))
    return file.encode(sparse(describe(net), 0.1))


def decode_seconds(work: Path, runs: int) -> dict[str, dict]:
    """CPU seconds by the number of weights and the way of decoding."""
    found = {}
    for side in SIDES:
        path = work / f"{side}.bb"
        path.write_bytes(matrix(side))
        row = {"bytes": path.stat().st_size}
        for name, setting in SETTINGS.items():
            if name != "python" or side <= MOST_IN_PYTHON:
                times = [once(work, path, name, setting) for _ in range(runs + 1)][1:]
                row[name] = round(statistics.median(times), 3)
        found[str(side * side)] = row
        print(side * side, row, flush=True)
    return found


def once(work: Path, path: Path, name: str, setting: str) -> float:
    """CPU seconds of one process."""
    cache = work / "cache"
    if name == "c, to be built" and cache.exists():
        for library in cache.rglob("*.so"):
            library.unlink()
    elif name == "c":
        once_built(cache)
    program = (
        "import bitsback\nfrom bitsback.compression import arrays, c_decoder, codec, range_coder\n"
        f"{setting}\nbitsback.decode({str(path)!r})"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-P", "-c", program], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def once_built(cache: Path) -> None:
    if not list(cache.rglob("*.so")):
        program = "from bitsback.compression.c_library import library\nassert library(True)"
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        subprocess.run([sys.executable, "-P", "-c", program], check=True, env=environment)


def matrix(side: int) -> bytes:
    """A file of one dense layer without structure."""
    architecture = describe(nn.Sequential(nn.Linear(side, side, bias=False)))
    rng = np.random.default_rng(side)
    codes = rng.integers(-3, 4, (side, side), dtype=np.int32)
    codes *= rng.random((side, side)) < 0.1
    return file.encode(Archive(architecture, {"0.weight": Quantised(codes, Uniform(0.5))}))


if __name__ == "__main__":
    main()
