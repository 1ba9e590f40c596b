"""How BOPs and error of method bayesian-bits answer to the cost and to the threshold of open gates.

    python benchmarks/gate_sensitivity.py [--costs 0.03 0.1 0.3] [--seeds 0 1 2]
        --work DIR --json FILE

On digits. One training for each cost and seed by `bitsback compress --save-guide`, kept in DIR and
not done again; the trained gates are then read off at each threshold. Errors are those of the
quantised network on the validation part, before its biases are coded; the test part is not used.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from bitsback.workbench.data import load_data
from bitsback.workbench.kept import rebuild
from record import commit, made_by
from rich.console import Console

THRESHOLDS = (0.34, 0.5, 0.66, 0.8, 0.9)


def trained(work: Path, cost: float, seed: int, rest: list[str]) -> Path:
    """The file of a trained pair."""
    pair = work / f"{commit()}-{cost:g}-{seed}.safetensors"
    if not pair.exists():
        command = [sys.executable, "-m", "bitsback", "compress", "--method", "bayesian-bits"]
        command += ["--cost", str(cost), "--seed", str(seed), "--quiet", *rest]
        files = ["--save-guide", str(pair), "--out", str(work / "net.bb")]
        subprocess.run([*command, *files], check=True)
    return pair


@torch.no_grad()
def read_off(pair: Path, data) -> dict[float, dict[str, float]]:
    """BOPs and validation error of the gates that are open at each threshold."""
    model, guide = rebuild(pair, len(data.train))
    found = {}
    for threshold in THRESHOLDS:
        guide.threshold.fill_(threshold)
        guide.settle()
        wrong = model.output(data.validation.x, guide.median()).argmax(1) != data.validation.y
        found[threshold] = {
            "relative_bops": sum(guide.bops().values()).item(),
            "validation_error": 100 * wrong.double().mean().item(),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--costs", type=float, nargs="+", default=[0.03, 0.1, 0.3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, required=True, help="folder for trained pairs")
    parser.add_argument("--json", type=Path, required=True)
    options, rest = parser.parse_known_args()  # the rest goes to `bitsback compress`
    options.work.mkdir(parents=True, exist_ok=True)
    data = load_data("digits", None, Console(stderr=True))
    rows = []
    for cost in options.costs:
        pairs = [trained(options.work, cost, seed, rest) for seed in options.seeds]
        runs = [read_off(pair, data) for pair in pairs]
        for threshold in THRESHOLDS:
            row = {"cost": cost, "threshold": threshold}
            for key in runs[0][threshold]:
                row[key] = [run[threshold][key] for run in runs]
                row[f"mean_{key}"] = statistics.mean(row[key])
            rows.append(row)
            print(json.dumps(row), flush=True)
        figures = {**made_by(), "seeds": options.seeds, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
