"""`shrink` on a ResNet-20 that others trained: bytes and error from 500 images without labels.

    python benchmarks/shrink_resnet20.py --weights FILE [--data-dir DIR] [--json FILE]

Half of CIFAR-10's test images (a fixed permutation) is for choosing: the first 2,500 of them judge
`max_drop`. The other 5,000 are reported, once for each draw of calibration images. "seconds" are of
the wall clock for `shrink`, with calibration, search and judging; "cpu_seconds" of the process.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import bitsback
import numpy as np
import torch
from bitsback.workbench.cifar import records
from record import made_by
from safetensors.torch import load_file
from torch import Tensor

IMAGES, JUDGES = 500, 2_500
DRAWS = (103, 104, 105)  # nothing was chosen on these; on 100 to 102 versions were compared


def examples(rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and classes of CIFAR-10's records."""
    images = torch.from_numpy(rows[:, 1:]).reshape(-1, 3, 32, 32).float() / 255
    return images, torch.from_numpy(rows[:, 0]).long()


@torch.no_grad()
def error(net: torch.nn.Module, x: Tensor, y: Tensor) -> float:
    """The error in percent."""
    wrong = sum(
        int((net(a).argmax(1) != b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True)
    )
    return 100 * wrong / len(y)


def spread(draws: list[dict]) -> dict[str, dict]:
    """Mean and standard deviation of the draws so far."""
    kinds = {"mean": statistics.mean}
    if len(draws) > 1:
        kinds["standard_deviation"] = statistics.stdev
    return {
        name: {key: kind(row[key] for row in draws) for key in ("bytes", "error_reported_half")}
        for name, kind in kinds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--draws", type=int, nargs="+", default=DRAWS, help="seeds of images")
    options = parser.parse_args()
    net = bitsback.network("resnet-20")
    net.load_state_dict(load_file(options.weights))
    net.eval()
    train, test = records(options.data_dir)
    order = np.random.RandomState(0).permutation(len(test))
    judges, report = (examples(test[part]) for part in (order[:JUDGES], order[5_000:]))
    found = made_by() | {"max_drop": options.max_drop, "calibration_images": IMAGES}
    found |= {"load_average_before": round(os.getloadavg()[0], 1)}
    found |= {"float_error_reported_half": error(net, *report), "draws": []}
    for seed in options.draws:
        chosen = np.random.RandomState(seed).permutation(len(train))[:IMAGES]
        x, _ = examples(train[chosen])
        start, cpu = time.perf_counter(), time.process_time()
        drop = options.max_drop
        small = bitsback.shrink(net, x, validation=judges, max_drop=drop, progress=print)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        row = {"seed": seed, "bytes": len(small.data)}
        row |= {"error_reported_half": error(small.network, *report)}
        row |= {"rise_on_judges": small.report["judged"]["rise"]["error"]}
        row |= {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
        found["draws"].append(row)
        print(row, flush=True)
        found |= spread(found["draws"])
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
