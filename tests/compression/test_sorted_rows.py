"""Sorted rows and the bytes that their order stands for."""

from math import factorial

import numpy as np
import pytest
from bitsback.compression import sorted_rows
from bitsback.compression.errors import CorruptFile
from hypothesis import given
from hypothesis import strategies as st

INT = np.int32


def sorted_table(rows: int, columns: int, size: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    table = generator.integers(-1, 2, (rows, columns)).astype(INT)
    return table[sorted_rows.in_order(table, size)]


def test_dense_rows_first_then_by_their_integers():
    table = np.array([[0, 0, 1], [-1, 2, 0], [-1, -7, 0], [3, 3, 3]], INT)
    assert sorted_rows.in_order(table, 4).tolist() == [3, 2, 1, 0]
    assert sorted_rows.in_order(table, 2).tolist() == [1, 0, 3, 2]


def test_equal_rows_have_fewer_orders():
    table = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [0, 0]], INT)
    table = table[sorted_rows.in_order(table, 5)]
    assert sorted_rows.orders(table, 5) == factorial(5) // 4
    assert sorted_rows.orders(table, 2) <= 2 * 2
    assert sorted_rows.orders(np.ones((6, 3), INT), 6) == 1


@given(st.integers(2, 40), st.integers(1, 3), st.integers(2, 40), st.integers(0, 99),
       st.integers(0, 10**60))  # fmt: skip
def test_every_order_comes_back(rows, columns, size, seed, number):
    table = sorted_table(rows, columns, size, seed)
    total = sorted_rows.orders(table, size)
    place = number % total
    written = sorted_rows.placed(table, size, place)
    assert sorted_rows.orders(written, size) == total
    assert sorted_rows.place_of(written, size) == place
    assert np.array_equal(written[sorted_rows.in_order(written, size)], table)


def test_places_are_different_orders():
    table = sorted_table(6, 2, 3, 0)
    total = sorted_rows.orders(table, 3)
    written = {sorted_rows.placed(table, 3, place).tobytes() for place in range(total)}
    assert len(written) == total > 1


@given(st.binary(max_size=12), st.integers(1, 1 << 40))
def test_hidden_bytes_are_revealed(payload, total):
    place, left = sorted_rows.hidden(payload, total)
    assert 0 <= place < total
    used = int(total > 1)
    revealed = sorted_rows.revealed(left[:used], place, total) + left[used:]
    assert revealed.startswith(payload) and not any(revealed[len(payload) :])
    assert len(left) <= max(len(payload), 1)


def test_an_order_that_stands_for_nothing_is_refused():
    with pytest.raises(CorruptFile, match="stands for no bytes"):
        sorted_rows.revealed(b"\xff", 5, 200)


@pytest.mark.parametrize(("rows", "groups"), [(4, 4), (4096, 1), (1 << 17, 1 << 8)])
def test_groups_that_are_too_small_or_too_large(rows, groups):
    with pytest.raises(ValueError, match="cannot be sorted"):
        sorted_rows.group_size(rows, groups)
    assert sorted_rows.group_size(1024, 1) == 1024 and sorted_rows.group_size(5, 2) == 3
