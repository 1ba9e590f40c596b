"""`--data FILE.csv` or `FILE.parquet` with `--target COLUMN`: rows are examples."""

import csv
from pathlib import Path

import numpy as np

from .parts import Part

# The columns of a table, by name.
Columns = dict[str, list]


def read_table(
    path: Path, target: str | None, likelihood: str | None
) -> tuple[dict[str, Part], tuple[str, ...] | None]:
    """The training part of a table, and the names of its classes if the target has words.

    All columns but the target are inputs, numbers, taken as they are: scale them before, or begin
    the network with a BatchNorm. Words in the target become classes, numbered in sorted order.

    :param target: the name of the labels' column.
    :param likelihood: what `--likelihood` said; for "categorical" and None whole numbers in a
        CSV file's target are classes, else all numbers are real.
    :raises ValueError: names the file, and the row and column that is wrong.
    """
    if target is None:
        raise ValueError(f"{path}: name the column of the labels with --target COLUMN")
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    if target not in columns:
        raise ValueError(f"--target {target}: {path} has no such column; it has {_some(columns)}")
    labels, classes = _labels(columns.pop(target), likelihood, f"{path}: {target}")
    if not columns:
        raise ValueError(f"{path}: has no column beside the target {target}")
    x = np.stack([_numbers(values, path, name) for name, values in columns.items()], 1)
    return {"train": Part(x, labels, f"{path}", f"{path}: {target}")}, classes


def _csv(path: Path) -> Columns:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from error
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise ValueError(f"{path}: must have a line of column names and lines of values below it")
    names, *rows = rows
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: two columns have the same name; column names are its first line")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise ValueError(
                f"{path}: line {number} has {len(row)} values, the first line {len(names)} names"
            )
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _parquet(path: Path) -> Columns:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(
            f"{path}: reading parquet needs pyarrow (pip install pyarrow); a CSV file needs nothing"
        ) from None
    try:
        return parquet.read_table(path).to_pydict()
    except OSError:
        raise
    except Exception as error:  # pyarrow has its own
        raise ValueError(f"{path}: not a readable parquet file ({error})") from error


def _labels(
    values: list, likelihood: str | None, field: str
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Classes as int64, with their names if they are words; else real numbers."""
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        numbers = None
    if likelihood in ("normal", "bernoulli"):
        if numbers is None:
            raise ValueError(f"{field}: must hold numbers for --likelihood {likelihood}")
        return numbers, None
    if numbers is None:
        words = np.array([str(value) for value in values])
        names, labels = np.unique(words, return_inverse=True)
        return labels.astype(np.int64), tuple(names.tolist())
    whole = np.isfinite(numbers).all() and (numbers == numbers.round()).all()
    return (numbers.astype(np.int64) if whole else numbers), None


def _numbers(values: list, path: Path, name: str) -> np.ndarray:
    found = np.empty(len(values), np.float32)
    for row, value in enumerate(values):
        try:
            found[row] = float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{path}: row {row + 1} of column {name} holds {str(value)!r}; inputs must be "
                "numbers: drop the column, or give each of its words a column of 0 and 1"
            ) from None
    return found


def _some(columns: Columns) -> str:
    names = list(columns)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} others" if len(names) > 12 else "")
