"""Tables: classes by word or number, regression, and rows that cannot be read."""

import sys

import numpy as np
import pytest
from bitsback.workbench.tables import read_table

ROWS = "a,b,kind\n1,2.5,cat\n-3,1e-2,ant\n\n4,0,cat\n"


@pytest.fixture
def table(tmp_path):
    def written(text: str):
        path = tmp_path / "d.csv"
        path.write_text(text)
        return path

    return written


def test_words_are_classes_in_sorted_order(table):
    parts, classes = read_table(table(ROWS), "kind", None)
    assert classes == ("ant", "cat") and parts["train"].y.tolist() == [1, 0, 1]
    expected = np.array([[1, 2.5], [-3, 0.01], [4, 0]], np.float32)
    assert np.array_equal(parts["train"].x, expected)


def test_numbers_are_classes_if_they_are_whole(table):
    path = table("a,y\n1,0\n2,1\n")
    assert read_table(path, "y", None)[0]["train"].y.dtype == np.int64
    assert read_table(path, "y", "normal")[0]["train"].y.dtype == np.float64
    assert read_table(table("a,y\n1,0\n2,1.5\n"), "y", None)[0]["train"].y.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (ROWS, "c", "--target c: .*d.csv has no such column; it has a, b, kind"),
        (ROWS, "a", "row 1 of column kind holds 'cat'; inputs must be numbers"),
        ("a,y\n,1\n", "y", "row 1 of column a holds ''"),
        ("a,y\n1,2,3\n", "y", "line 2 has 3 values, the first line 2 names"),
        ("a,a\n1,2\n", "a", "two columns have the same name"),
        ("y\n1\n", "y", "has no column beside the target y"),
        ("a,y\n", "y", "must have a line of column names and lines of values"),
        ("", "y", "must have a line"),
    ],
)
def test_tables_that_cannot_be_read(text, target, message, table):
    with pytest.raises(ValueError, match=message):
        read_table(table(text), target, None)


def test_words_are_no_numbers(table):
    with pytest.raises(ValueError, match="kind: must hold numbers for --likelihood normal"):
        read_table(table(ROWS), "kind", "normal")


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"d.parquet: reading parquet needs pyarrow \(pip"):
        read_table(tmp_path / "d.parquet", "y", None)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "y": [0, 1]}), path)
    parts, _ = read_table(path, "y", None)
    assert parts["train"].x.tolist() == [[1], [2]] and parts["train"].y.tolist() == [0, 1]
