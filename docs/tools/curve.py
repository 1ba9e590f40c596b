"""docs/pictures/error-bytes.svg: test error against bytes on LeNet-5-Caffe, ours and published.

    python docs/tools/curve.py

Ours are means of three seeds from results files, with standard deviations. The published points
are those of benchmarks/error_bytes.py. The points stand in the picture's metadata, where a test
compares them with the files.
"""

import importlib.util
from pathlib import Path
from typing import Any

import matplotlib
from results import RECORD, ROOT, read

matplotlib.use("agg")
from matplotlib import pyplot

PICTURE = ROOT / "docs" / "pictures" / "error-bytes.svg"
NETWORK = ("mnist", "lenet-5-caffe")
OURS = {
    "rate": [RECORD, f"{RECORD}-beta-0.42", f"{RECORD}-beta-0.19"],
    "log-uniform": ["mnist-lenet-5-caffe"],
}


def ours() -> dict[str, list[tuple[float, float, float, float]]]:
    """By method, of each results file: bytes and test error, and their standard deviations."""
    return {
        method: [
            (*(read(name)["mean"][key] for key in ("bytes", "test_error")),
             *(read(name)["standard_deviation"][key] for key in ("bytes", "test_error")))
            for name in names
        ]
        for method, names in OURS.items()
    }  # fmt: skip


def published() -> list[Any]:
    """The points of benchmarks/error_bytes.py."""
    path = ROOT / "benchmarks" / "error_bytes.py"
    spec = importlib.util.spec_from_file_location("error_bytes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PUBLISHED[NETWORK]


def points() -> str:
    """All that is drawn, in words."""
    lines = [
        f"{method}: {size:.0f} bytes, {error:.2f} %"
        for method, found in ours().items()
        for size, error, *_ in found
    ]
    return "; ".join([*lines, *(f"{p.label}: {p.bytes} bytes, {p.error} %" for p in published())])


def draw(path: Path = PICTURE) -> None:
    """Write the picture."""
    pyplot.rcParams.update({"svg.hashsalt": "bitsback", "svg.fonttype": "none", "font.size": 10})
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for (method, found), color in zip(ours().items(), ("#c2185b", "#3949ab"), strict=True):
        x, y, x_spread, y_spread = zip(*found, strict=True)
        axes.errorbar(
            x, y, y_spread, x_spread, "o-", color=color, capsize=2, label=f"bitsback, {method}"
        )
    for decoded, label in ((True, "published, file decoded"), (False, "published, no file")):
        some = [point for point in published() if point.decoded == decoded]
        face = "black" if decoded else "white"
        axes.plot(
            [p.bytes for p in some], [p.error for p in some], "s", color="black",
            markerfacecolor=face, label=label,
        )  # fmt: skip
        for p in some:
            name = p.label.split(",")[0]
            axes.annotate(name, (p.bytes, p.error), (5, 5), textcoords="offset points", fontsize=8)
    axes.set(
        xscale="log", xlabel="bytes of the whole network", ylabel="test error, %",
        title="LeNet-5-Caffe on MNIST (1,724,320 bytes as float32)",
        xlim=(700, 4800), ylim=(0.64, 1.14),
    )  # fmt: skip
    axes.set_xticks(
        [800, 1000, 1500, 2000, 3000, 4000], ["800", "1,000", "1,500", "2,000", "3,000", "4,000"]
    )
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper center", ncols=2)
    figure.savefig(path, metadata={"Date": None, "Description": points()})
    pyplot.close(figure)


if __name__ == "__main__":
    draw()
