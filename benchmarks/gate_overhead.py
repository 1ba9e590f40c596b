"""What gates and residuals of method bayesian-bits cost: time and memory of a training step.

    python benchmarks/gate_overhead.py [--network N] [--json FILE] [--eager] [--steps N]

One process takes in turn a plain step (forward, cross-entropy, backward, Adam; batch 128), one
at a fixed width of 8 bits, which has one rounding a tensor and no gates, and those with gates
on 2, 4, 8 and on 2, 4, 8, 16, 32 bits. `ratio` is the median step's time over the plain one's, with
the quartiles of the ratios of neighbours. `peak_mb` is the peak of memory above the start of a
process of its own that builds the step and takes 30 of them, as in svi_step.py. `gate_parameters`
counts parameters that only gates have.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import bitsback
import torch
from bitsback.guides import GateChain
from bitsback.models import BayesianBits
from bitsback.training.steps import Pair
from record import made_by
from svi_step import NUM_DATA, data, interleaved, plain_step, status, step_of

STEPS = {
    "fixed": {"widths": (8,), "prune": False, "bits": False},
    "gates": {},
    "gates-to-32": {"widths": (2, 4, 8, 16, 32)},
}


def bits_step(network: str, which: str, x, y, eager: bool):
    """A step of a pair, its kind, and how many parameters its gates have."""
    model = BayesianBits(bitsback.network(network), NUM_DATA, **STEPS[which])
    model.measure(x)
    guide = GateChain(model)
    step, kind = step_of(Pair(model, guide), x, y, eager)
    gates = sum(p.numel() for p in guide.gate.parameters())
    return step, kind, gates


def times(network: str, steps: int, eager: bool) -> dict:
    x, y = data()
    plain, built = plain_step(network, x, y), {}
    for which in STEPS:
        built[which] = bits_step(network, which, x, y, eager)
    seconds = interleaved([plain, *(step for step, _, _ in built.values())], steps)
    found = {}
    for which, (step, kind, gates) in built.items():
        ratios = [a / b for a, b in zip(seconds[step], seconds[plain], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        found[which] = {
            "kind": kind,
            "ratio": statistics.median(seconds[step]) / statistics.median(seconds[plain]),
            "ratio_quartiles": [quartiles[0], quartiles[2]],
            "gate_parameters": gates,
        }
    return found


def peak(network: str, which: str, eager: bool) -> float:
    """MB above the start, at the peak of building a step and taking it 30 times."""
    torch.compile(torch.neg)(torch.zeros(8))  # the compiler's own modules are no step's memory
    x, y = data()
    start = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    if which == "plain":
        step = plain_step(network, x, y)
    else:
        step = bits_step(network, which, x, y, eager)[0]
    for _ in range(30):
        step()
    return status("VmHWM") - start


def peak_in_process(network: str, which: str, eager: bool) -> float:
    command = [sys.executable, __file__, "--network", network, "--peak", which]
    command += ["--eager"] if eager else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet-5-bayesian-bits")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--eager", action="store_true", help="the fall-back without a compiler")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.network, options.peak, options.eager))
        return
    found = times(options.network, options.steps, options.eager)
    for which, figures in found.items():
        figures["peak_mb"] = peak_in_process(options.network, which, options.eager)
        print(which, json.dumps(figures), flush=True)
    plain = peak_in_process(options.network, "plain", options.eager)
    result = {**made_by(), "network": options.network, "steps": options.steps, "kinds": found}
    result["plain_peak_mb"] = plain
    print("plain", plain)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
