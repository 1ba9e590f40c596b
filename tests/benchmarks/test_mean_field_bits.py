"""The tables of docs/results/guides.md are those of the file, and its rule is the code's."""

import json
import math
import re
import statistics

import pytest

from ..project import ROOT

PAGE = (ROOT / "docs" / "results" / "guides.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
FILE, WINE = (
    json.loads((RESULTS / f"mean-field-bits{data}.json").read_text()) for data in ("", "-wine")
)
FIGURES = ("stddev_over_nuts", "bits_per_weight", "nats_per_weight", "error")
CURVE = ("bits_per_weight", "nats_per_weight", "error")


def row(first: str, rest: list[str]) -> None:
    """The page has this row of a table."""
    pattern = r"^\| *" + re.escape(first) + r" *\| *" + r" *\| *".join(map(re.escape, rest))
    assert re.search(pattern + r" *\|", PAGE, re.MULTILINE), (first, rest)


def cell(rows: list[dict], key: str) -> str:
    """Mean over seeds; standard deviation of the error, which is the noisy one."""
    values = [r[key] for r in rows]
    if key == "error":
        return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
    return f"{statistics.mean(values):.2f}"


@pytest.mark.parametrize("file", [FILE, WINE], ids=["digits", "wine"])
@pytest.mark.parametrize("name", FILE["runs"]["first"]["0"]["guides"])
def test_the_table_of_guides(name, file):
    rows = [run["guides"][name] for run in file["runs"]["first"].values()]
    row(name, [cell(rows, key) for key in FIGURES])


@pytest.mark.parametrize("file", [FILE, WINE], ids=["digits", "wine"])
@pytest.mark.parametrize("name", FILE["runs"]["first"]["0"]["curves"])
def test_the_curves(name, file):
    curves = [run["curves"][name] for run in file["runs"]["first"].values()]
    for points in zip(*curves, strict=True):
        c = points[0]["c"]
        if c in (0.25, 0.5, 1.0, 2.0, 4.0):
            row(f"{name}, {c:g}", [cell(points, key) for key in CURVE])


@pytest.mark.parametrize("file", [FILE, WINE], ids=["digits", "wine"])
def test_the_whole_network(file):
    for name in file["runs"]["both"]["0"]["guides"]:
        rows = [run["guides"][name] for run in file["runs"]["both"].values()]
        row(f"{name}, both layers", [cell(rows, key) for key in FIGURES[1:]])


@pytest.mark.parametrize("file", [FILE, WINE], ids=["digits", "wine"])
def test_seeds_and_chains_are_as_said(file):
    assert file["seeds"] == [0, 1, 2] and file["commit"] and file["command"]
    nuts = [run["nuts"] for run in file["runs"]["first"].values()]
    worst = math.ceil(100 * max(n["rhat_max"] for n in nuts)) / 100
    assert f"R-hat at most {worst:.2f}" in PAGE
    assert f"{math.floor(min(n['ess_min'] for n in nuts))} at least" in PAGE
