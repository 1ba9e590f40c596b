"""Test error against bytes: this project's results files beside published figures, as a plot.

    python benchmarks/error_bytes.py NETWORK [--data mnist] --out FILE.png

Every results file's method with at least three runs of the network is there: their mean and
standard deviation. Published points are those of real files or of the authors' own byte
counts; filled ones were decoded and evaluated, of the others nobody has published a file.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

RESULTS = Path(__file__).parent / "results"
# (bytes, test error in percent, label, whether there is a file that decodes to this error).
PUBLISHED = {
    ("mnist", "lenet-5-caffe"): [
        (1140, 0.97, "MIRACLE, other authors' code (with ReLUs)", True),
        (1694, 0.83, "MIRACLE, other authors' code (with ReLUs)", True),
        (1520, 0.96, "MIRACLE", False),
        (3030, 0.69, "MIRACLE", False),
    ],
    ("mnist", "lenet-300-100"): [
        (8560, 1.9, "EPR-SQ", False),
        (6624, 1.76, "VD+SWS, from a ratio", False),
    ],
}


def runs_in(found, network: str, data: str) -> Iterator[dict]:
    """All runs of `bitsback compress` anywhere in a results file."""
    if isinstance(found, dict):
        if found.get("network") == network and found.get("data") == data and "bytes" in found:
            yield found
        for value in found.values():
            yield from runs_in(value, network, data)
    elif isinstance(found, list):
        for value in found:
            yield from runs_in(value, network, data)


def groups(network: str, data: str) -> dict[tuple[str, str], list[dict]]:
    """The runs by file and method, of files that have at least three."""
    result = defaultdict(list)
    for path in sorted(RESULTS.glob("*.json")):
        for run in runs_in(json.loads(path.read_text()), network, data):
            result[path.stem, run["method"]].append(run)
    return {key: runs for key, runs in result.items() if len(runs) >= 3}


def called(run: dict) -> str:
    """The method, and of rate what moves it along its curve."""
    if run["method"] != "rate":
        return run["method"]
    taught = ", distilled" if "--distill" in run["command"] else ""
    return f"rate, beta {run['description']['beta']:g}{taught}"


def draw(network: str, data: str, out: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for (_, method), runs in groups(network, data).items():
        sizes, errors = ([run[key] for run in runs] for key in ("bytes", "test_error"))
        x, y = statistics.mean(sizes), statistics.mean(errors)
        spread = {"xerr": statistics.stdev(sizes), "yerr": statistics.stdev(errors)}
        color = "tab:red" if method == "rate" else "tab:blue"
        axes.errorbar(x, y, **spread, fmt="o", color=color, markersize=4)
        axes.annotate(called(runs[0]), (x, y), (4, 4), textcoords="offset points", fontsize=6)
    for size, error, label, decoded in PUBLISHED.get((data, network), []):
        face = "black" if decoded else "none"
        axes.plot(size, error, "s", color="black", markerfacecolor=face, markersize=5)
        axes.annotate(label, (size, error), (4, -9), textcoords="offset points", fontsize=6)
    axes.set(xscale="log", xlabel="bytes of the file", ylabel="test error, %")
    axes.set_title(f"{network}, {data}: dots with bars are files of this project")
    figure.savefig(out, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    draw(options.network, options.data, options.out)


if __name__ == "__main__":
    main()
