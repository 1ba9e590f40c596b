"""Test error against bytes beside published figures, and where the bytes go: two panels of a plot.

    python benchmarks/error_bytes.py NETWORK [--data mnist] [--files FILE ...] --out FILE.png

It draws what is in results files, by default all of benchmarks/results: every run of `bitsback
compress` of the network on the data. Runs of one file and one method (and, of rate, one beta or
target) are a point.

Above, test error against bytes. A filled circle is the mean of at least three seeds, its bars
their standard deviations; a hollow one has fewer seeds and no bars, and the legend says how many.
Squares are the `PUBLISHED` figures with their sources: filled ones are files that were decoded and
evaluated, of the others nobody has published a file.

Below, the share of the file that goes to each part: each layer's positions and values, codebooks,
biases, masks, raw tensors, header with shapes, and checksum. Of results files whose reports do not
have these parts, only each layer and the rest; those without layers have no bar.
"""

import argparse
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
SEEDS = 3  # that a mean with bars has at least
REST = ("codebooks", "biases", "masks", "raw", "header", "checksum")


@dataclass(frozen=True)
class Point:
    """A published figure: bytes, test error in percent, and whether a file decodes to it."""

    bytes: int
    error: float
    label: str
    source: str
    decoded: bool = False


_PARAS = "TudorParas/MIRACLE-Neural-Network-Exchange-Format,\nfiles decoded; with ReLUs"
_MIRACLE = [
    Point(1140, 0.97, "MIRACLE, re-implemented", _PARAS, True),
    Point(1694, 0.83, "MIRACLE, re-implemented", _PARAS, True),
]
_FEDERICI = "Federici, Ullrich and Welling 2017, from a ratio"
_TUTORIAL = "Oktay et al. 2020, as in its authors' tutorial"
PUBLISHED = {
    ("mnist", "lenet-5-caffe-relu"): _MIRACLE,
    ("mnist", "lenet-5-caffe"): [
        *_MIRACLE,
        Point(1520, 0.96, "MIRACLE", "Havasi et al. 2019"),
        Point(3030, 0.69, "MIRACLE", "Havasi et al. 2019"),
        Point(2840, 1.0, "EPR-SQ", _TUTORIAL),
        Point(3577, 0.86, "VD+SWS", _FEDERICI),
    ],
    ("mnist", "lenet-300-100"): [
        Point(8560, 1.9, "EPR-SQ", _TUTORIAL),
        Point(6624, 1.76, "VD+SWS", _FEDERICI),
        Point(16_663, 1.94, "SWS", "Ullrich et al. 2017, from a ratio"),
        Point(26_661, 1.58, "Deep Compression", "Han et al. 2016, from a ratio"),
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


def groups(network: str, data: str, files: list[Path]) -> dict[str, list[dict]]:
    """The runs that are one point each, by its name, the smallest files first.

    A name is a number and what the runs are; and their file, where others are the same.
    """
    found = defaultdict(list)
    for path in files:
        for run in runs_in(json.loads(path.read_text()), network, data):
            found[called(run), path.stem].append(run)
    ordered = sorted(found.items(), key=lambda item: mean(item[1], "bytes"))
    times = Counter(name for name, _ in found)
    return {
        f"{number}  {name}" + (f" ({stem})" if times[name] > 1 else ""): runs
        for number, ((name, stem), runs) in enumerate(ordered, 1)
    }


def mean(runs: list[dict], key: str) -> float:
    return statistics.mean(run[key] for run in runs)


def called(run: dict) -> str:
    """The method, and of rate what moves it along its curve."""
    if run["method"] != "rate":
        return run["method"]
    taught = ", distilled" if "--distill" in run.get("command", "") else ""
    if run.get("target_bytes"):
        return f"rate, {run['target_bytes']} bytes asked for{taught}"
    if run.get("target_error"):
        return f"rate, {run['target_error']:g} % asked for{taught}"
    return f"rate, beta {run['description']['beta']:g}{taught}"


def parts(run: dict) -> dict[str, float]:
    """The bytes of the parts of a run's file, in their order there; empty if it is not known."""
    report, found = run.get("compression", {}), {}
    for layer in report.get("layers", []):
        name = layer["name"].removesuffix(".weight")
        if "parts" in layer:
            for part in ("positions", "values"):
                found[f"{name} {part}"] = layer["parts"].get(part, 0.0)
        else:
            found[name] = layer["bytes"]
    if "items" in report:
        items = {**report["items"]}
        items["header"] += items["shapes"]
        found |= {part: items[part] for part in REST if items[part]}
    elif found:
        found["the rest"] = run["bytes"] - sum(found.values())
    return found


def draw_points(axes: Axes, network: str, data: str, found: dict[str, list[dict]]) -> None:
    """The panel of errors against bytes."""
    for name, runs in found.items():
        enough = len(runs) >= SEEDS
        x, y = mean(runs, "bytes"), mean(runs, "test_error")
        spread = [
            statistics.stdev(run[k] for run in runs) for k in ("bytes", "test_error") if enough
        ]
        color = "tab:red" if runs[0]["method"] == "rate" else "tab:blue"
        label = f"{name}: {x:,.0f} B, {y:.2f} %"
        if not enough:
            label += f" ({len(runs)} seed{'s' * (len(runs) > 1)})"
        axes.errorbar(
            x, y, **dict(zip(("xerr", "yerr"), spread, strict=False)), fmt="o", markersize=4,
            color=color, markerfacecolor=color if enough else "none", label=label,
        )  # fmt: skip
        axes.annotate(name.split()[0], (x, y), (4, 4), textcoords="offset points", fontsize=6)
    for point in PUBLISHED.get((data, network), []):
        face = "black" if point.decoded else "none"
        axes.plot(
            point.bytes, point.error, "s", color="black", markerfacecolor=face, markersize=5,
            label=f"{point.label}: {point.bytes:,} B, {point.error} %\n{point.source}",
        )  # fmt: skip
        axes.annotate(
            point.label, (point.bytes, point.error), (4, -9), textcoords="offset points", fontsize=6
        )
    axes.set(xscale="log", xlabel="bytes of the file", ylabel="test error, %")
    axes.set_title(f"{network}, {data} (filled circles: {SEEDS} seeds or more)")
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.01, 1))


def draw_parts(axes: Axes, found: dict[str, list[dict]]) -> None:
    """The panel of the shares of each part, a bar for each point that has them."""
    rows, order = {}, {}
    for name, runs in found.items():
        each = [parts(run) for run in runs]
        if all(each):
            order |= dict.fromkeys(part for one in each for part in one)
            share = {k: statistics.mean(one.get(k, 0.0) for one in each) for k in order}
            rows[f"{name}, {mean(runs, 'bytes'):,.0f} B"] = share
    if not rows:
        axes.set_axis_off()
        return
    colors = pyplot.get_cmap("tab20")
    left = dict.fromkeys(range(len(rows)), 0.0)
    for place, part in enumerate(order):
        for row, share in enumerate(rows.values()):
            width = 100 * share.get(part, 0.0) / sum(share.values())
            label = part if not row else None
            axes.barh(row, width, left=left[row], color=colors(place % 20), label=label)
            left[row] += width
    axes.set_yticks(range(len(rows)), list(rows), fontsize=6)
    axes.set(xlabel="share of the file, %", xlim=(0, 100))
    axes.invert_yaxis()
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.01, 1))


def draw(network: str, data: str, files: list[Path], out: Path) -> None:
    """Both panels, into a PNG file.

    :raises ValueError: if there is no run of the network in the files.
    """
    found = groups(network, data, files)
    if not found:
        raise ValueError(f"no run of {network} on {data} in the {len(files)} results files")
    bars = sum(all(map(parts, runs)) for runs in found.values())
    heights = (5, 1 + 0.25 * bars)
    figure, axes = pyplot.subplots(
        2, 1, figsize=(10, sum(heights)), layout="constrained", height_ratios=heights
    )
    draw_points(axes[0], network, data, found)
    draw_parts(axes[1], found)
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--files", type=Path, nargs="+", default=sorted(RESULTS.glob("*.json")))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        draw(options.network, options.data, options.files, options.out)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
