"""The MNIST figures of the README: train, compress and measure one network with several seeds.

    python benchmarks/mnist.py NETWORK [--data D] [--method M] [--seeds 0 1 2]
        --work DIR --json FILE

Each seed is one `bitsback compress`, with checkpoints in DIR, so that an interrupted benchmark goes
on where it was: a seed that this very commit has finished is not run again. Each run says at which
commit its training began, which may be an earlier one than that which compressed. Everything is
chosen on validation data; the test part is looked at once a run. The JSON holds each run's own, the
published count of the same network, and mean and standard deviation.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from counts import other_counts
from record import commit, made_by

SUMMARISED = (
    "bytes", "ratio", "test_error", "test_error_before", "validation_error", "nonzero_fraction",
    "huffman_bytes", "published_bytes", "published_ratio",
)  # fmt: skip


def one(options: argparse.Namespace, seed: int) -> dict:
    """One run of the command, and its network in the other coder and in the published count."""
    stem = options.work / f"{options.network}-{options.method}-{seed}"
    out, figures, done = (stem.with_suffix(end) for end in (".bb", ".json", ".done.json"))
    if done.exists() and (result := json.loads(done.read_text()))["commit"] == commit():
        return result
    began = Path(f"{stem}.run", "commit")
    if not began.exists():
        began.parent.mkdir(exist_ok=True)
        began.write_text(commit())
    command = [
        *("bitsback", "compress", "--data", options.data, "--network", options.network),
        *("--method", options.method, "--seed", str(seed), *options.rest),
    ]
    files = ["--resume", str(stem) + ".run", "--out", str(out), "--json", str(figures)]
    subprocess.run([sys.executable, "-m", *command, *files], check=True)
    result = json.loads(figures.read_text())
    result |= other_counts(out.read_bytes())
    result["published_ratio"] = result["float32_bytes"] / result["published_bytes"]
    result["command"] = " ".join(command)
    result["commit"], result["commit_of_training"] = commit(), began.read_text()
    # A path of the machine that ran it, and a time that leaves out what was resumed.
    del result["file"], result["seconds"]
    done.write_text(json.dumps(result))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--method", default="log-uniform")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and checkpoints")
    parser.add_argument("--json", type=Path, required=True)
    options, options.rest = parser.parse_known_args()  # the rest goes to `bitsback compress`
    options.work.mkdir(parents=True, exist_ok=True)
    runs = [one(options, seed) for seed in options.seeds]
    spread = statistics.stdev if len(runs) > 1 else lambda values: None
    figures = {
        **made_by(),
        "mean": {key: statistics.mean(run[key] for run in runs) for key in SUMMARISED},
        "standard_deviation": {key: spread([run[key] for run in runs]) for key in SUMMARISED},
        "runs": runs,
    }
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps({key: figures[key] for key in ("mean", "standard_deviation")}, indent=2))


if __name__ == "__main__":
    main()
