"""Tables and pictures of the experiments: docs/results/<experiment>.md and .svg.

    python -m benchmarks.tables [EXPERIMENT ...] [--out DIR]

A row is the mean ± standard deviation of all runs with fresh seeds (100 and above) of a point.
Points with fewer than three such runs say how many there are, and have no spread.
"""

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .experiment import FRESH, Experiment, load, names
from .one_run import RESULTS

OUT = Path(__file__).parent.parent / "docs" / "results"
SEEDS = 3  # that a spread needs
HEAD = (
    "", "file, bytes", "ratio", "published count", "error before, %", "error, %", "worst, %",
    "kept weights, %", "within margins",
)  # fmt: skip


def runs_of(experiment: Experiment, results: Path = RESULTS) -> list[dict[str, Any]]:
    """All runs with fresh seeds that are done, those of seeds that the file does not name too."""
    found = [json.loads(path.read_text()) for path in (results / experiment.name).glob("*.json")]
    fresh = [one for one in found if one["configuration"]["seed"] >= FRESH]
    return sorted(fresh, key=lambda one: one["configuration"]["seed"])


def rows(experiment: Experiment, runs: list[dict]) -> list[tuple[dict, list[dict]]]:
    """Each point that has runs, with them."""
    found = [(point, [r for r in runs if r["point"] == point]) for point in experiment.points()]
    return [(point, of_point) for point, of_point in found if of_point]


def spread(values: Iterable[float], form: str = ",.0f") -> str:
    """Mean ± standard deviation; the mean alone of fewer than `SEEDS` values."""
    values = list(values)
    text = f"{statistics.mean(values):{form}}"
    return text if len(values) < SEEDS else f"{text} ± {statistics.stdev(values):{form}}"


def row(point: dict, runs: list[dict]) -> list[str]:
    figures = [run["figures"] for run in runs]
    name = ", ".join(f"{option} {value}" for option, value in point.items()) or figures[0]["method"]
    if len(runs) < SEEDS:
        name += f" ({len(runs)} run{'s' * (len(runs) > 1)})"
    within = sum(found["compression"]["within_margin"] for found in figures)
    count = [run["figures"]["float32_bytes"] / run["published_bytes"] for run in runs]
    return [
        name,
        spread(found["bytes"] for found in figures),
        spread(found["ratio"] for found in figures),
        spread(count),
        spread((found["test_error_before"] for found in figures), ".2f"),
        spread((found["test_error"] for found in figures), ".2f"),
        f"{max(found['test_error'] for found in figures):.2f}",
        spread((100 * found["nonzero_fraction"] for found in figures), ".2f"),
        f"{within} of {len(runs)}",
    ]


def published_row(found: dict) -> list[str]:
    size = f"{found['bytes']:,}" if "bytes" in found else ""
    ratio = f"{found['ratio']:g}" if "ratio" in found else ""
    name = f"{found['name']} ({found['source']})"
    return [name, size, "", ratio, "", f"{found['error']:.2f}", "", "", ""]


def page(experiment: Experiment, runs: list[dict]) -> str:
    """The page of an experiment, with its table."""
    lines = [HEAD, ("---",) * len(HEAD)]
    lines += [row(point, of_point) for point, of_point in rows(experiment, runs)]
    lines += [published_row(found) for found in experiment.published]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    seeds = ", ".join(str(s) for s in sorted({run["configuration"]["seed"] for run in runs}))
    commits = ", ".join(sorted({run["commit"] for run in runs}))
    machines = ", ".join(sorted({run["machine"] for run in runs}))
    start = ""
    if experiment.start is not None:
        epochs = experiment.start["epochs"]
        start = f" All runs of a seed start from one network, trained for {epochs} epochs."
    folder = f"benchmarks/results/runs/{experiment.name}"
    return f"""# {experiment.title}

{table}

- Chosen: {experiment.chosen}.
- Seeds {seeds}, none left out. Mean ± standard deviation.{start}
- "Published count" is the ratio with weights alone in CSR + Huffman, as the papers count. Rows with
  a source are from it, in its own count.
- By `python -m benchmarks.run {experiment.name}` at {commits} ({machines}).
- Each run is in [{folder}](../../{folder}). `python -m benchmarks.tables` makes this page of them.
"""


def write(names_of: list[str], out: Path = OUT, results: Path = RESULTS) -> list[str]:
    """Write the pages of those experiments that have runs; their names."""
    out.mkdir(parents=True, exist_ok=True)
    done = []
    for name in names_of:
        experiment = load(name)
        if runs := runs_of(experiment, results):
            (out / f"{name}.md").write_text(page(experiment, runs))
            done.append(name)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", help="default: all that have runs")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    try:
        print("\n".join(write(options.experiments or names(), options.out)))
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
