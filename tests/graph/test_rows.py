"""Rows of the operator table that compressed files rely on stay as they are."""

from pathlib import Path

from bitsback.graph.operators import Operator
from bitsback.graph.table import OPERATORS

PINNED = Path(__file__).with_name("rows.txt")


def written(row: Operator) -> str:
    """What a file's reader needs of a row: a line of it changed makes old files unreadable."""
    arguments = " ".join(
        f"{a.name}:{a.kind}" + (f"*{a.count}" if a.count else "")
        + ("" if a.required else f"={a.default!r}".replace(" ", ""))
        for a in row.arguments
    )  # fmt: skip
    return f"{row.number} {row.name} -> {row.results} ({arguments})"


def test_rows_that_are_in_files_stay():
    """New rows are added to rows.txt, with numbers never used before; no line of it changes."""
    lines = [written(row) for row in sorted(OPERATORS.values(), key=lambda row: row.number)]
    assert lines == PINNED.read_text().splitlines()
