"""All methods on one network with one budget: the tables of docs/results/methods.md.

    python benchmarks/zoo.py [--network N] [--data D] [--epochs 30] [--shift 1] [--seeds 0 1 2]
        [--methods M ...] --work DIR --json FILE

For each seed one network is trained for 10 epochs, by maximum a posteriori; every method starts
from it and has the same number of epochs, retraining between prunings included. One `bitsback
compress` a method and seed, thresholds and codebooks chosen on validation data; the test part is
looked at once a run. The last column is the description length in bits, of weights (KL) and
training labels, where the prior is proper and the guide has a density. Finished runs in DIR are not
repeated, and FILE keeps what it has of methods that are not named; each run says at which commit it
was made.
`seconds` are those of one whole run on the machine named, with one thread, other work beside it.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bitsback.compression.compress import MARGIN_ERROR, MARGIN_NLL
from bitsback.methods import METHODS
from bitsback.training import Options
from common_start import start_of
from record import commit, made_by

PRETRAIN_EPOCHS = 10
SUMMARISED = (
    "test_error_before", "test_error", "validation_error", "nonzero_fraction", "bits_per_weight",
    "bytes", "ratio", "seconds",
)  # fmt: skip


def pretrained(options: argparse.Namespace, seed: int) -> Path:
    """The common start of all methods: a file of the trained network's state_dict."""
    path = options.work / f"{options.network}-{options.data}-{seed}.safetensors"
    budget = Options(epochs=PRETRAIN_EPOCHS, seed=seed, shift=options.shift)
    return start_of(path, options.network, options.data, budget)


def one(options: argparse.Namespace, method: str, seed: int) -> dict:
    """One run of the command."""
    stem = options.work / f"{options.network}-{options.data}-{method}-{seed}"
    done = stem.with_suffix(".done.json")
    if done.exists():
        return json.loads(done.read_text())
    command = [
        *("bitsback", "compress", "--data", options.data, "--network", options.network),
        *("--method", method, "--epochs", str(options.epochs), "--seed", str(seed)),
        *("--threads", "1", "--shift", str(options.shift)),
        # A method's own margins for a network would compare it at another error.
        *("--margin-nll", str(MARGIN_NLL), "--margin-error", str(MARGIN_ERROR), *options.rest),
    ]
    out, figures = stem.with_suffix(".bb"), stem.with_suffix(".json")
    files = ["--weights", pretrained(options, seed), "--out", out, "--json", figures]
    subprocess.run([sys.executable, "-m", *command, *map(str, files)], check=True)
    result = json.loads(figures.read_text())
    layers = result["compression"].pop("layers")
    result["compression"]["kept"] = {layer["name"]: layer["kept"] for layer in layers}
    del result["file"]  # a path of the machine that ran it
    result |= {"command": " ".join(command), "commit": commit()}
    done.write_text(json.dumps(result))
    return result


def summary(runs: list[dict]) -> dict:
    spread = statistics.stdev if len(runs) > 1 else lambda values: None
    return {
        "mean": {key: statistics.mean(run[key] for run in runs) for key in SUMMARISED},
        "standard_deviation": {key: spread([run[key] for run in runs]) for key in SUMMARISED},
        "description_bits": _description([run.get("description_length_bits") for run in runs]),
        "runs": runs,
    }


def _description(lengths: list[dict | None]) -> float | None:
    """Mean bits of weights and training labels; None where the prior or the guide has no code."""
    return None if None in lengths else statistics.mean(found["total"] for found in lengths)


def row(name: str, found: dict) -> str:
    """What the tables of docs/results/methods.md say of a method, the description length last."""
    mean, spread = found["mean"], found["standard_deviation"]
    cells = [
        f"{mean['test_error_before']:.2f}",
        f"{mean['test_error']:.2f}" + (f" ± {spread['test_error']:.2f}" if spread["bytes"] else ""),
        f"{100 * mean['nonzero_fraction']:.2f}",
        "-".join(units.rpartition(">")[2] for units in found["runs"][0]["units"]),
        f"{mean['bits_per_weight']:.3f}",
        f"{mean['bytes']:,.0f}" + (f" ± {spread['bytes']:,.0f}" if spread["bytes"] else ""),
        f"{mean['ratio']:.0f}",
        f"{sum(run['compression']['within_margin'] for run in found['runs'])} of "
        f"{len(found['runs'])}",
        "none" if found["description_bits"] is None else f"{found['description_bits']:,.0f}",
    ]
    return " | ".join([f"| {name}", *cells]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet-300-100")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--shift", type=int, default=1, help="pixels that images are moved by")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--work", type=Path, required=True, help="folder for files")
    parser.add_argument("--json", type=Path, required=True)
    options, options.rest = parser.parse_known_args()  # the rest goes to `bitsback compress`
    options.work.mkdir(parents=True, exist_ok=True)
    found = json.loads(options.json.read_text())["methods"] if options.json.exists() else {}
    for seeds in (options.seeds[: k + 1] for k in range(len(options.seeds))):
        for name in options.methods:  # seed by seed, so that an early end leaves whole columns
            found[name] = summary([one(options, name, seed) for seed in seeds])
        figures = {**made_by(), "seeds": seeds, "methods": found}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n".join(row(name, one) for name, one in found.items()))


if __name__ == "__main__":
    main()
