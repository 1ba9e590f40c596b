"""Time and memory of a trace and of unit removal: ResNet-18 of CIFAR's shape, 11 million weights.

    python benchmarks/graph_removal.py [--json FILE] [--threads N]

In a process of its own for each way: "first" is the first trace of a process, torch's imports of
what it exports with included; "next" has traced a small network before, so that its memory is that
of the graph alone. Half of the units inside residual blocks are dead. Seconds are of the wall
clock, "cpu_seconds" of the process, which tells them apart where others use the machine. Memory is
the peak above that of the process with the network in it, over the size of the network's tensors.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import bitsback
import torch
from bitsback.graph import Plan, remove_units, trace
from bitsback.workbench.resnets import Block
from record import made_by
from torch import Tensor, nn
from torch.nn import functional as F

TARGET_SECONDS, TARGET_MEMORY, TARGET_PLAN = 5.0, 3.0, 0.1


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        blocks, before = [], 64
        for i, width in enumerate((64, 128, 256, 512)):
            blocks += [Block(before, width, 1 + (i > 0), False), Block(width, width, 1, False)]
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet() -> nn.Module:
    torch.manual_seed(0)
    net = ResNet18()
    for block in net.blocks:
        with torch.no_grad():
            block.conv1.weight[::2] = 0
    return net.eval()


def resident() -> int:
    """Bytes of memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(way: str) -> dict[str, float]:
    """One trace and one removal in this process."""
    if way == "next":
        small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        remove_units(trace(small, torch.randn(2, 3, 8, 8)))
    net, x = resnet(), torch.randn(2, 3, 32, 32)
    size = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    before, start, cpu = resident(), time.perf_counter(), time.process_time()
    network = trace(net, x)
    traced = time.perf_counter()
    reduction = remove_units(network)
    end, cpu = time.perf_counter(), time.process_time() - cpu
    with torch.no_grad():
        error = float((net(x) - reduction.network(x)).abs().max())
    return {
        "weights": sum(p.numel() for p in net.parameters()),
        "weights_left": sum(p.numel() for p in reduction.network.parameters()),
        "units_removed": reduction.units,
        "largest_difference": error,
        "trace_seconds": round(traced - start, 2),
        "removal_seconds": round(end - traced, 2),
        "seconds": round(end - start, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_over_network": round((peak() - before) / size, 2),
    }


def plan_seconds() -> float:
    """The fastest of five plans of LeNet-5-Caffe, on one thread."""
    torch.set_num_threads(1)
    network = trace(bitsback.network("lenet-5-caffe"), torch.randn(2, 1, 28, 28))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        Plan(network)
        times.append(time.perf_counter() - start)
    return round(min(times), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=["first", "next", "plan"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.way:
        print(json.dumps(plan_seconds() if options.way == "plan" else measure(options.way)))
        return
    command = [sys.executable, __file__, "--threads", str(options.threads), "--way"]
    found = made_by()
    found["load_average_before"] = round(os.getloadavg()[0], 1)
    for way in ("first", "next", "plan"):
        run = subprocess.run([*command, way], capture_output=True, text=True, check=True)
        found["plan_seconds_lenet_5" if way == "plan" else way] = json.loads(run.stdout)
    found["targets"] = {
        "seconds": TARGET_SECONDS, "peak_over_network": TARGET_MEMORY,
        "plan_seconds_lenet_5": TARGET_PLAN,
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
