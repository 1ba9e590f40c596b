"""The picture for docs/results/shrink.md: bytes against error of a ResNet-20, by shrink_curve.py.

python benchmarks/draw_shrink_curve.py FILE.json FILE.svg
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

NAMES = {
    "shrink": "shrink, 500 images",
    "gptq": "GPTQ order + our coder, 500 images",
    "pack": "pack, no data",
    "rounding": "rounding + our coder, no data",
    "nncodec": "NNCodec, no data",
    "int": "int4 + xz, no data",
}
KILOBYTES = (25, 145)
ERROR = (8, 14)


def points(rows: list[dict]) -> list[tuple[float, float]]:
    """Mean bytes [kB] and error [%] of the draws of each setting, by size."""
    found = defaultdict(list)
    for row in rows:
        setting = next(value for key, value in row.items() if key != "draw")
        found[setting].append((row["bytes"] / 1000, row["error"]))
    return sorted(tuple(map(statistics.mean, zip(*each, strict=True))) for each in found.values())


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    found = json.loads(source.read_text())
    plt.rcParams |= {"svg.hashsalt": "bitsback", "svg.fonttype": "none", "font.size": 10}
    figure, axes = plt.subplots(figsize=(6.4, 4))
    for part, name in NAMES.items():
        if part in found["parts"]:
            x, y = zip(*points(found["parts"][part]["rows"]), strict=True)
            axes.plot(x, y, "o-", label=name, markersize=4)
    axes.axhline(found["float_error"], color="grey", linestyle=":", label="float, 1,084 kB")
    axes.set(xlim=KILOBYTES, ylim=ERROR, xlabel="kB", ylabel="error on 5,000 test images, %")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(target, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
