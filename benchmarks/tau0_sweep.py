"""`bitsback tau0` over several seeds: what the evidence chooses, and what it compresses to.

    python benchmarks/tau0_sweep.py [--data D --network N] [--epochs E] [--seeds 0 1 2] [--quick]
        --work DIR --json FILE

DIR keeps every finished value of every seed, so that an interrupted study goes on; FILE holds the
seeds that are done. All is chosen on the validation part; figures of the test part stand beside
those. One thread, unless --jobs says how many processes may run, of one thread each.
"""

import argparse
import json
import math
import resource
import statistics
from pathlib import Path

import torch
from bitsback.diagnostics.tau0 import VALUES
from bitsback.workbench.settings import Settings, positive_numbers, resolve
from bitsback.workbench.sweep import Search
from bitsback.workbench.tau0 import run
from record import made_by
from rich.console import Console

QUALITIES = [
    f"{of}_{figure}"
    for of in ("validation", "test", "file", "file_test")
    for figure in ("error", "nll", "ece")
]
FIGURES = (*QUALITIES, "bytes", "kept_weights", "bits_per_weight")


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
                "elbo_stderr": statistics.mean(row["elbo_stderr"] for row in of_seeds),
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


def table(rows: list[dict]) -> str:
    """The table of docs/results/tau0.md."""
    heads = (
        "tau0", "ELBO", "NLL over q, nats", "ECE", "file's error, %", "test error, %",
        "file's NLL, nats", "kept units", "bits a weight", "bytes",
    )  # fmt: skip
    lines = [heads, ("---",) * len(heads)]
    for row in rows:
        lines.append(
            (
                f"{row['tau0']:g}",
                f"{row['elbo']:.4f} ± {row['elbo_stderr']:.4f}",
                f"{row['validation_nll']:.4f}",
                f"{row['validation_ece']:.3f}",
                f"{row['file_error']:.1f}",
                f"{row['file_test_error']:.1f}",
                f"{row['file_nll']:.4f}",
                f"{row['kept_units']:.0f}",
                f"{row['bits_per_weight']:.3f}",
                f"{row['bytes']:,.0f}",
            )
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def study(options: argparse.Namespace, sweeps: list[dict]) -> dict:
    """What is written of the seeds that are done."""
    cpu = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        **made_by(),
        "cpu_seconds": round(sum(used.ru_utime + used.ru_stime for used in cpu)),
        "mean": summary(sweeps),
        "geometric_mean_of_choices": {
            key: math.exp(statistics.mean(math.log(s[key]["tau0"]) for s in sweeps))
            for key in ("evidence", "compression")
        },
        "decades_apart": [sweep["decades_apart"] for sweep in sweeps],
        "seeds": sweeps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--network")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--values", default=",".join(map(repr, VALUES)))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    search = Search("processes", options.jobs, options.quick)
    values = positive_numbers("--values", options.values)
    sweeps = []
    for seed in options.seeds:
        folder = options.work / f"{options.data}-{options.network or 'default'}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            data=options.data, network=options.network, method="horseshoe",
            epochs=options.epochs, seed=seed, resume=folder,
        )  # fmt: skip
        sweeps.append(run(resolve(settings), values, Console(stderr=True), search))
        print(seed, {key: sweeps[-1][key] for key in ("evidence", "compression", "published")})
        if options.json:
            options.json.write_text(json.dumps(study(options, sweeps), indent=2) + "\n")
    print(table(summary(sweeps)))


if __name__ == "__main__":
    main()
