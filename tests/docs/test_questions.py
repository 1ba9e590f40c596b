"""docs/results/questions.md: 53 questions, and spreads that are those of results files."""

import json
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ..project import ROOT

PAGE = ROOT / "docs" / "results" / "questions.md"
TEXT = PAGE.read_text()
ROW = re.compile(r"^\| (\d+) \|[^|]*\| (yes|in part|no) \|.*\|$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")
NUMBER = r"(\d+(?:,\d{3})*(?:\.\d+)?)"
SPREAD = re.compile(f"{NUMBER} ± {NUMBER}")
ROWS = {int(found[1]): found[0] for found in ROW.finditer(TEXT)}
Numbers = dict[str, float]


def test_each_question_is_there_once_and_is_counted():
    found = ROW.findall(TEXT)
    assert [int(number) for number, _ in found] == list(range(1, 54))
    states = [state for _, state in found]
    said = (
        f"Of 53 questions {states.count('yes')} are answered, {states.count('in part')} in part, "
        f"{states.count('no')} are open."
    )
    assert said in TEXT


@pytest.mark.parametrize("number", [n for n, row in ROWS.items() if SPREAD.search(row)])
def test_every_spread_is_of_a_file_that_the_row_names(number):
    """Of some metric over some group of runs, as it is or in percent, to the digits given."""
    row = ROWS[number]
    files = [PAGE.parent / link for link in LINK.findall(row) if link.endswith(".json")]
    known = [pair for path in files for pair in spreads(path.resolve())]
    for mean, deviation in SPREAD.findall(row):
        digits = len(mean.partition(".")[2])
        texts = {
            tuple(f"{factor * value:,.{digits}f}" for value in pair)
            for pair in known
            for factor in (1, 100)
        }
        assert (mean, deviation) in texts, f"{mean} ± {deviation}"


@cache
def spreads(path: Path) -> tuple[tuple[float, float], ...]:
    """Mean and standard deviation of each metric of each group of runs of a results file."""
    found = []
    for group in groups(json.loads(path.read_text())):
        for name in set.intersection(*map(set, group)):
            values = [run[name] for run in group]
            found.append((statistics.mean(values), statistics.stdev(values)))
    return tuple(found)


def groups(node: object) -> Iterator[list[Numbers]]:
    """The runs that stand together: lists of several, and entries by seed."""
    if not isinstance(node, dict):
        return
    for key in ("runs", "draws"):
        if isinstance(node.get(key), list) and len(node[key]) > 1:
            yield [numbers(run) for run in node[key]]
    if len(node) > 1 and all(key.isdigit() for key in node):
        yield [numbers(run) for run in node.values()]
    for value in node.values():
        yield from groups(value)


def numbers(run: dict) -> Numbers:
    """The numbers of a run by path, and those that the page derives of them."""
    found = dict(leaves(run))
    if (bits := found.get("bits_per_weight")) and "nonzero_fraction" in found:
        found["bits per kept weight"] = bits / found["nonzero_fraction"]
    if "positions" in (run.get("compression") or {}).get("items", {}):
        items, layers = run["compression"]["items"], run["compression"]["layers"]
        kept = sum(layer["kept"] for layer in layers)
        found["positions over float32 values"] = items["positions"] / (4 * kept)
        found["positions over coded values"] = items["positions"] / items["values"]
    return found


def leaves(node: object, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(node, bool):
        return
    if isinstance(node, int | float):
        yield path, node
    elif isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from leaves(value, f"{path}.{key}" if path else str(key))
