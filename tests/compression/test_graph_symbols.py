"""Choices, numbers and texts through an arithmetic coder."""

import math

import pytest
from bitsback.compression.errors import CorruptFile
from bitsback.compression.graph_symbols import DECISIONS_PER_BYTE, FREE_DECISIONS, Symbols
from bitsback.compression.range_coder import Stream
from hypothesis import given, settings
from hypothesis import strategies as st

REALS = [0, 1, -1, True, False, 0.0, -0.0, 1.0, 0.1, 1e-5, 1e-12, -0.25, 1 / 3, math.pi, 1e300,
         5e-324, math.inf, -math.inf, 2**31 - 1, 2.0**40]  # fmt: skip


def coded(method: str, values: list, *arguments) -> tuple[list, int]:
    """Values through a stream and back, and how many bytes they took."""
    stream = Stream()
    symbols = Symbols(stream)
    for value in values:
        getattr(symbols, method)(value, *arguments)
    data = stream.finish()
    stream = Stream(data)
    symbols = Symbols(stream, None, len(data))
    blank = "" if method in ("text", "word") else 0
    found = [getattr(symbols, method)(blank, *arguments) for _ in values]
    stream.check_end()
    return found, len(data)


def test_reals_come_back_with_their_types():
    found, _ = coded("real", REALS, ["x"])
    assert [(type(v), repr(v)) for v in found] == [(type(v), repr(v)) for v in REALS]
    assert math.isnan(coded("real", [math.nan], ["x"])[0][0])


@given(st.lists(st.integers(0, 10**6)))
def test_numbers(values):
    assert coded("number", values, 10**6, ["x"])[0] == values


@given(st.lists(st.integers(-100, 50)))
def test_integers(values):
    assert coded("integer", values, -100, 50, ["x"])[0] == values


@settings(max_examples=30)
@given(st.lists(st.text(max_size=10).filter(lambda t: "\0" not in t), max_size=5))
def test_texts_and_words(values):
    assert coded("text", values, 100, "x")[0] == values
    assert coded("word", values, 100, ["x"])[0] == values


def test_what_repeats_is_cheap():
    assert coded("number", [137] * 400, 1000, ["x", ("x", 1)])[1] < 25
    assert coded("word", ["attention"] * 100, 20, ["x"])[1] < 20


@pytest.mark.parametrize(
    ("method", "value", "arguments"),
    [
        ("number", 11, (10, ["x"])),
        ("number", -1, (10, ["x"])),
        ("integer", 3, (-2, 2, ["x"])),
        ("choice", 3, (3, ["x"])),
        ("text", "abc", (2, "x")),
        ("text", "a\0b", (9, "x")),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(method, value, arguments):
    with pytest.raises(ValueError, match=r"within|zero byte|over 2"):
        getattr(Symbols(Stream()), method)(value, *arguments)


def test_work_is_bounded():
    data = bytes(40)
    symbols = Symbols(Stream(data), None, len(data))
    with pytest.raises(CorruptFile, match=r"more decisions than its bytes|ends before"):
        for _ in range(FREE_DECISIONS + 41 * DECISIONS_PER_BYTE):
            symbols.flag(False, ["x"])
