"""One training step of `fit()` against plain PyTorch, on the same network and machine.

    python benchmarks/svi_step.py [--json FILE] [--eager] [--steps N] [--threads N] [--methods]

Plain: forward, cross-entropy, backward, fused Adam; batch 128. The two run in turn, step by step,
in one process; times are medians, so that a machine whose speed drifts slows both alike. Peak
memory is taken in a process of its own for each, above that after imports: `peak_mb` is the
step's, its capture and compilation included, and `plain_peak_mb` the plain one's.

With `--methods`, a step of every method on LeNet-300-100 instead, without memory, beside that of
another library where one has the method and is installed (see peers.py).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bitsback
import torch
from bitsback.methods import METHODS
from bitsback.training.steps import CompiledStep, EagerStep, Pair, can_compile
from peers import available
from record import made_by
from torch import nn

NETWORKS = ("lenet-300-100", "lenet-5-caffe")
BATCH, NUM_DATA = 128, 55_000


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 1, 28, 28, generator=generator)
    return x, torch.randint(0, 10, (BATCH,), generator=generator)


def plain_step(name: str, x, y):
    net = bitsback.network(name)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def svi_step(name: str, x, y, eager: bool, method: str = "log-uniform"):
    return step_of(Pair(*METHODS[method].pair(bitsback.network(name), NUM_DATA)), x, y, eager)


def step_of(pair: Pair, x, y, eager: bool):
    """A step of a pair, and its kind: eager where asked for or where nothing else will do."""
    obstacle = can_compile(pair, x)
    if obstacle and not eager:
        print(f"eager: {obstacle}", file=sys.stderr)
    taken = EagerStep(pair) if eager or obstacle else CompiledStep(pair, x, y)
    seeds = iter(range(1 << 30))
    return (lambda: taken(x, y, next(seeds), 1e-3, 1.0)), taken.kind


def interleaved(taken: list, steps: int) -> dict:
    """Seconds of each step, taken in turn; the first ten rounds are not counted."""
    seconds = {step: [] for step in taken}
    for k in range(steps + 10):
        for step in taken:
            began = time.perf_counter()
            step()
            if k >= 10:
                seconds[step].append(time.perf_counter() - began)
    return seconds


def times(name: str, steps: int, eager: bool) -> dict:
    x, y = data()
    plain, (svi, kind) = plain_step(name, x, y), svi_step(name, x, y, eager)
    seconds = interleaved([plain, svi], steps)
    ours, theirs = (1e3 * statistics.median(seconds[s]) for s in (svi, plain))
    ratios = [a / b for a, b in zip(seconds[svi], seconds[plain], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "kind": kind,
        "ratio": ours / theirs,
        "ratio_quartiles": [quartiles[0], quartiles[2]],
        "milliseconds": ours,
        "plain_milliseconds": theirs,
        "steps": steps,
    }


def times_of_methods(steps: int, eager: bool) -> dict:
    """Every method's step over the plain one's, and its peer's, on LeNet-300-100."""
    x, y = data()
    found = {}
    for method in METHODS:
        plain = plain_step("lenet-300-100", x, y)
        svi, kind = svi_step("lenet-300-100", x, y, eager, method)
        peer = available(method)
        theirs = [peer[1](x, y, NUM_DATA)] if peer else []
        medians = {
            step: statistics.median(taken)
            for step, taken in interleaved([plain, svi, *theirs], steps).items()
        }
        found[method] = {
            "kind": kind,
            "ratio": medians[svi] / medians[plain],
            "milliseconds": 1e3 * medians[svi],
            "plain_milliseconds": 1e3 * medians[plain],
        }
        if peer:
            found[method] |= {"peer": peer[0], "peer_ratio": medians[theirs[0]] / medians[plain]}
        print(method, json.dumps(found[method]), flush=True)
    return {"methods": found}


def status(key: str) -> float:
    """A figure of this process's memory, in MB."""
    line = next(
        row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(key)
    )
    return int(line.split()[1]) / 1024


def peak(name: str, which: str, eager: bool) -> float:
    """MB above the start at the peak of building the step and 30 steps of it.

    The compiler's own modules are no memory of a step: a trivial function is compiled before the
    start, in both processes.
    """
    torch.compile(torch.neg)(torch.zeros(8))
    x, y = data()
    start = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    step = plain_step(name, x, y) if which == "plain" else svi_step(name, x, y, eager)[0]
    for _ in range(30):
        step()
    return status("VmHWM") - start


def peak_in_process(name: str, which: str, eager: bool) -> float:
    command = [sys.executable, __file__, "--peak", name, which, *(["--eager"] if eager else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--eager", action="store_true", help="the fall-back without a compiler")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", action="store_true", help="every method, one network")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak(*options.peak, options.eager))
        return
    figures = times_of_methods(options.steps, options.eager) if options.methods else {}
    for name in () if options.methods else NETWORKS:
        figures[name] = times(name, options.steps, options.eager)
        figures[name]["peak_mb"] = peak_in_process(name, "svi", options.eager)
        figures[name]["plain_peak_mb"] = peak_in_process(name, "plain", options.eager)
        print(name, json.dumps(figures[name]))
    figures |= made_by()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
