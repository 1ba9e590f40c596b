"""Bayesian Bits on MNIST: error, BOPs and bytes of the published network, its arms and its targets.

    python benchmarks/bayesian_bits.py [--seeds 0 1 2] [--runs published target-0.003 lsq-4 ...]
        --work DIR --json FILE

Each run is one `bitsback compress` with checkpoints in DIR, as in mnist.py: an interrupted
benchmark goes on where it was, and a run that this very commit has finished is not run again. The
JSON is written anew after each kind of run. Other options go to `bitsback compress`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from record import commit, made_by

RUNS: dict[str, list[str]] = {
    "published": [],
    "quantisation": ["--arm", "quantisation"],
    "pruning": ["--arm", "pruning"],
    "target-0.01": ["--target-bops", "0.01"],
    "target-0.005": ["--target-bops", "0.005"],
    "target-0.003": ["--target-bops", "0.003"],
    "post-training": ["--freeze-weights"],
    "independent": ["--gates", "independent"],
    "one-bit": ["--widths", "1,2,4,8"],
    "exact": ["--objective", "exact"],
}
# Baselines at fixed widths: lsq-4 is W4A4 with ranges as in LSQ.
RUNS |= {
    f"{arm}-{w}": ["--arm", arm, "--widths", str(w)] for arm in ("lsq", "pact") for w in (2, 4, 8)
}
SUMMARISED = (
    "test_error", "test_error_before", "validation_error", "bytes", "relative_bops", "nonzero_bops",
)  # fmt: skip


# Before a number, as in exact-0.3: that of the last option.
NUMBERED = {
    "target-": ["--target-bops"],
    "cost-": ["--cost"],
    "exact-": ["--objective", "exact", "--cost"],
    "coupling-": ["--coupling"],
}


def arguments(name: str) -> list[str] | None:
    """Options of a kind of run: one of RUNS, or else of NUMBERED; None if it is neither."""
    for start, options in NUMBERED.items():
        if name not in RUNS and name.startswith(start):
            return [*options, name.removeprefix(start)]
    return RUNS.get(name)


def one(options: argparse.Namespace, name: str, seed: int) -> dict:
    """One run of the command."""
    stem = f"{options.work}/{options.data}-{options.network}-{name}-{seed}"
    done, figures = Path(f"{stem}.done.json"), Path(f"{stem}.json")
    if done.exists() and (result := json.loads(done.read_text()))["commit"] == commit():
        return result
    command = [
        *("bitsback", "compress", "--data", options.data, "--network", options.network),
        *("--method", "bayesian-bits", "--seed", str(seed), *arguments(name), *options.rest),
    ]
    files = ["--resume", f"{stem}.run", "--out", f"{stem}.bb", "--json", str(figures)]
    subprocess.run([sys.executable, "-m", *command, *files], check=True)
    result = json.loads(figures.read_text())
    result["relative_bops"] = result["bops"]["relative"]
    result["nonzero_bops"] = result["bops"]["nonzero"]
    result["command"], result["commit"] = " ".join(command), commit()
    # A path of the machine that ran it, and a time that leaves out what was resumed; the course of
    # the gates, which is long, stays in DIR.
    del result["file"], result["seconds"], result["bops"]["trajectory"]
    done.write_text(json.dumps(result))
    return result


def summary(runs: list[dict]) -> dict:
    spread = statistics.stdev if len(runs) > 1 else lambda values: None
    return {
        "mean": {key: statistics.mean(run[key] for run in runs) for key in SUMMARISED},
        "standard_deviation": {key: spread([run[key] for run in runs]) for key in SUMMARISED},
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--network", default="lenet-5-bayesian-bits")
    known = f"{', '.join(RUNS)}, or a number behind {', '.join(NUMBERED)}"
    parser.add_argument("--runs", nargs="+", default=list(RUNS), help=known)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and checkpoints")
    parser.add_argument("--json", type=Path, required=True)
    options, options.rest = parser.parse_known_args()  # the rest goes to `bitsback compress`
    unknown = [name for name in options.runs if arguments(name) is None]
    if unknown:
        parser.error(f"--runs {unknown[0]}: must be one of {known}")
    options.work.mkdir(parents=True, exist_ok=True)
    figures = {**made_by(), "results": {}}
    for name in options.runs:
        runs = [one(options, name, seed) for seed in options.seeds]
        figures["results"][name] = summary(runs)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
        print(name, json.dumps(figures["results"][name]["mean"]))


if __name__ == "__main__":
    main()
