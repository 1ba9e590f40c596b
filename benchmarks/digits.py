"""`bitsback compress` on digits: size, error, wall time, and whether it ended within its margins.

python benchmarks/digits.py [--seeds 0 1 2] --json FILE [options of `bitsback compress`]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from record import made_by

SUMMARISED = (
    "seconds", "bytes", "ratio", "test_error", "test_error_before", "validation_error",
    "nonzero_fraction",
)  # fmt: skip
JUDGED = ("within_margin", "allowed_nll", "allowed_error", "rise", "rise_over_given", "warnings")


def one(seed: int, rest: list[str]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.json")
        command = [sys.executable, "-m", "bitsback", "compress", "--seed", str(seed), *rest]
        subprocess.run([*command, "--json", str(found)], check=True, cwd=folder)
        result = json.loads(found.read_text())
    keys = ("seed", "method", "network", "data", *SUMMARISED)
    judged = {key: result["compression"][key] for key in JUDGED}
    return {key: result[key] for key in keys} | {"description": result.get("description")} | judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, required=True)
    options, rest = parser.parse_known_args()
    load = os.getloadavg()[0]
    runs = [one(seed, rest) for seed in options.seeds]
    figures = {
        **made_by(),
        "load_before": round(load, 1),
        "mean": {key: statistics.mean(run[key] for run in runs) for key in SUMMARISED},
        "standard_deviation": {
            key: statistics.stdev(run[key] for run in runs) if len(runs) > 1 else None
            for key in SUMMARISED
        },
        "runs": runs,
    }
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures["mean"], indent=2))


if __name__ == "__main__":
    main()
