"""What a process pays before it has a network, or its arrays: seconds from the start to the end.

    python benchmarks/cold_start.py --runs 9 --json FILE

Each case is a fresh process that finds the bytecode of its modules on disk, as in an installed
package. Cases take turns, so that a machine that gets busier meets all of them. `cpu` is user and
system time, `wall` the time on the clock; medians, and the least.
The files: a LeNet-5 of about 1 kB in the short form, and a traced residual network, both made here.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from bitsback import trace
from bitsback.compression import file
from bitsback.compression.archive import Archive, Codebook, Quantised, Uniform, storable
from bitsback.compression.describe import describe
from bitsback.compression.select import Select
from record import made_by
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="of each case")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {"lenet-5": Path(folder) / "lenet.bb", "residual": Path(folder) / "residual.bb"}
        files["lenet-5"].write_bytes(small_lenet())
        files["residual"].write_bytes(small_residual())
        seconds = measured(cases(files), options.runs, Path(folder) / "bytecode")
        sizes = {name: path.stat().st_size for name, path in files.items()}
    result = made_by() | {"runs": options.runs, "bytes": sizes, "seconds": seconds}
    base = seconds["import torch"]["cpu"]["median"]
    for name, found in seconds.items():
        cpu = found["cpu"]["median"]
        print(f"{name:28} {cpu:6.3f} s CPU {found['wall']['median']:7.3f} s wall {cpu / base:6.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def cases(files: dict[str, Path]) -> dict[str, list[str]]:
    """The command lines, by name."""
    found = {
        "python": ["-c", ""],
        "import numpy": ["-c", "import numpy"],
        "import torch": ["-c", "import torch"],
        "bitsback --help": ["-m", "bitsback", "--help"],
    }
    for name, path in files.items():
        load = f"import torch, bitsback; bitsback.load({str(path)!r})"
        found[f"load {name}"] = ["-c", load]
        found[f"decode {name}"] = ["-c", f"import bitsback; bitsback.decode({str(path)!r})"]
        found[f"bitsback inspect {name}"] = ["-m", "bitsback", "inspect", str(path)]
    return found


def measured(commands: dict[str, list[str]], runs: int, bytecode: Path) -> dict[str, dict]:
    """CPU and wall seconds of each command, after a run that fills the caches.

    :param bytecode: where Python keeps compiled modules.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            seconds = once(command, bytecode)
            if turn:
                taken[name].append(seconds)
    return {
        name: {
            kind: {
                "median": round(statistics.median(values), 4),
                "least": round(min(values), 4),
                "most": round(max(values), 4),
            }
            for kind, values in zip(("cpu", "wall"), zip(*pairs, strict=True), strict=True)
        }
        for name, pairs in taken.items()
    }


def once(command: list[str], bytecode: Path) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    environment |= {"PYTHONPYCACHEPREFIX": str(bytecode)}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, wall


def small_lenet() -> bytes:
    """A LeNet-5 of the units that compression leaves of it, in the short form."""
    layers = {
        "conv1": nn.Conv2d(1, 5, 5), "pool1": nn.MaxPool2d(2), "conv2": nn.Conv2d(5, 10, 5),
        "pool2": nn.MaxPool2d(2), "flatten": nn.Flatten(),
        "select": Select(torch.arange(160) % 2 == 0), "fc1": nn.Linear(80, 25), "relu1": nn.ReLU(),
        "fc2": nn.Linear(25, 10),
    }  # fmt: skip
    return file.encode(sparse(describe(nn.Sequential(OrderedDict(layers)), "lenet-5-caffe"), 0.35))


def small_residual() -> bytes:
    """A traced network of one residual block."""
    torch.manual_seed(0)
    net = trace(Residual().eval(), torch.zeros(2, 3, 16, 16))
    return file.encode(sparse(describe(net), 0.3))


class Residual(nn.Module):
    """A stem, a residual block and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.second(torch.relu(self.first(x))))
        return self.classifier(x.mean((2, 3)))


def sparse(architecture, density: float) -> Archive:
    """Random integers, a share of which is not zero; weights -3..3 of a codebook, biases coarse.

    Raw tensors are ones.
    """
    rng = np.random.default_rng(0)
    magnitudes = storable(np.array([0.05, 0.1, 0.2], np.float32))
    tensors = {}
    for spec in architecture.tensors():
        codes = rng.integers(-3, 4, spec.shape, dtype=np.int32)
        if spec.role == "weight":
            codes *= rng.random(spec.shape) < density
            tensors[spec.name] = Quantised(codes, Codebook(-magnitudes, magnitudes))
        elif spec.role == "bias":
            tensors[spec.name] = Quantised(codes, Uniform(0.0625))
        elif spec.role == "raw":
            tensors[spec.name] = np.ones(spec.shape, spec.dtype)
        else:
            tensors[spec.name] = np.arange(spec.shape[0]) % 2 == 0
    return Archive(architecture, tensors)


if __name__ == "__main__":
    main()
