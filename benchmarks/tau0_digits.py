"""`bitsback tau0` on digits over several seeds.

    python benchmarks/tau0_digits.py --work DIR --json FILE

DIR keeps every finished value, so that an interrupted study goes on. All is chosen on the
validation part; the test part is never read.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from bitsback.diagnostics.tau0 import VALUES
from bitsback.workbench.settings import Settings, resolve
from bitsback.workbench.tau0 import run
from rich.console import Console

FIGURES = ("validation_error", "validation_nll", "validation_ece", "file_error", "file_nll",
           "file_ece", "bytes", "kept_weights", "bits_per_weight")  # fmt: skip


def summary(sweeps: list[dict]) -> list[dict]:
    """Means over seeds of each value's figures; how far each bound is below its seed's largest."""
    rows = []
    for at, tau0 in enumerate(row["tau0"] for row in sweeps[0]["values"]):
        of_seeds = [sweep["values"][at] for sweep in sweeps]
        largest = [max(row["elbo"] for row in sweep["values"]) for sweep in sweeps]
        below = [top - row["elbo"] for top, row in zip(largest, of_seeds, strict=True)]
        figures = {k: statistics.mean(row["figures"][k] for row in of_seeds) for k in FIGURES}
        rows.append(
            {
                "tau0": tau0,
                "elbo": statistics.mean(row["elbo"] for row in of_seeds),
                "elbo_below_largest": statistics.mean(below),
                **figures,
                "kept_units": statistics.mean(units(row["figures"]["units"]) for row in of_seeds),
                "bytes_of_seeds": [row["figures"]["bytes"] for row in of_seeds],
            }
        )
    return rows


def units(widths: list[str]) -> int:
    """Kept inputs and hidden units, of "64->46" and the like; the last, the labels, left out."""
    return sum(int(width.rpartition(">")[2]) for width in widths[:-1])


def commit() -> str:
    run = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return run.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sweeps = []
    for seed in options.seeds:
        folder = options.work / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(method="horseshoe", epochs=options.epochs, seed=seed, resume=folder)
        sweeps.append(run(resolve(settings), VALUES, Console(stderr=True)))
        print(seed, {key: sweeps[-1][key] for key in ("evidence", "compression", "published")})
    rows = summary(sweeps)
    for one in rows:
        print({key: one[key] for key in ("tau0", "elbo_below_largest", "bytes", "file_nll")})
    if options.json:
        apart = [sweep["decades_apart"] for sweep in sweeps]
        result = {
            "command": " ".join(["python", "benchmarks/tau0_digits.py", *sys.argv[1:]]),
            "commit": commit(),
            "torch": torch.__version__,
            "machine": f"{platform.processor() or platform.machine()}, 1 thread",
            "cpu_seconds": round(time.process_time(), 1),
            "mean": rows,
            "geometric_mean_of_choices": {
                key: math.exp(statistics.mean(math.log(s[key]["tau0"]) for s in sweeps))
                for key in ("evidence", "compression")
            },
            "decades_apart": apart,
            "seeds": sweeps,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
