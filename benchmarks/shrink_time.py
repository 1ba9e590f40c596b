"""Time and memory of `shrink` on a ResNet-20 that was trained, or on a ResNet-18 that was not.

    python benchmarks/shrink_time.py --network resnet-20 --weights FILE --data-dir DIR --json FILE
    python benchmarks/shrink_time.py --network resnet-18 --data-dir DIR --json FILE

Calibration is on 500 CIFAR-10 training images. The ResNet-20 is judged on 2,500 test images by
`--max-drop`. The ResNet-18 (11 million weights, for images of 32 x 32) has random weights and
BatchNorm statistics of 2,000 images: there is nothing to judge, so that a file of 2 bits a weight
is asked for. "seconds" are of the wall clock, with calibration and search for the price;
"cpu_seconds" of the process; memory is the largest resident size less that before (Linux).
"""

import argparse
import json
import os
import time
from pathlib import Path

import bitsback
import numpy as np
import torch
from bitsback.workbench.cifar import records
from record import made_by
from safetensors.torch import load_file
from shrink_resnet20 import IMAGES, JUDGES, examples
from torch import Tensor, nn

BITS = 2  # a weight, of the ResNet-18's file


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


def resnet18() -> nn.Module:
    """He et al. 2016, with a first convolution of 3 x 3 for images of 32 x 32."""
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    for inputs, outputs in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [Block(inputs, outputs, 1 + (inputs < outputs)), Block(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


@torch.no_grad()
def settled(net: nn.Module, x: Tensor) -> nn.Module:
    """The network in eval mode, with BatchNorm statistics of x."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    for images in x.split(100):
        net.train()(images)
    return net.eval()


def resident(what: str) -> int:
    """Bytes of memory of this process: "VmRSS" now, "VmHWM" at most. Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("resnet-20", "resnet-18"), required=True)
    parser.add_argument("--weights", type=Path, metavar="FILE")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    train, test = records(options.data_dir)
    order = np.random.RandomState(0).permutation(len(test))
    judges = examples(test[order[:JUDGES]])
    torch.manual_seed(100)
    if options.network == "resnet-20":
        net = bitsback.network("resnet-20").eval()
        net.load_state_dict(load_file(options.weights))
        asked = {"validation": judges, "max_drop": options.max_drop}
    else:
        net = settled(resnet18(), examples(train[:2_000])[0])
        weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
        asked = {"target_bytes": BITS * weights // 8}
    chosen = np.random.RandomState(100).permutation(len(train))[:IMAGES]
    x, _ = examples(train[chosen])
    del train, test, judges
    found = made_by() | {"calibration_images": IMAGES}
    found |= {"load_average_before": round(os.getloadavg()[0], 1)}
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident size starts again
    before = resident("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()

    def say(line: str) -> None:
        print(f"{time.perf_counter() - start:.1f} s: {line}", flush=True)

    small = bitsback.shrink(net, x, progress=say, **asked)
    found["seconds"] = round(time.perf_counter() - start, 1)
    found["cpu_seconds"] = round(time.process_time() - cpu, 1)
    found["memory_bytes"] = resident("VmHWM") - before
    report = small.report
    found |= {key: report[key] for key in ("weights", "bytes", "float32_bytes", "bits_per_weight")}
    found["memory_over_network"] = round(found["memory_bytes"] / report["float32_bytes"], 2)
    print(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
