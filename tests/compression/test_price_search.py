"""The search for the highest price within a limit."""

import math

import pytest
from bitsback.compression.price_search import CLOSE, FACTOR, MOST, boundary


@pytest.mark.parametrize("edge", [1e-3, 0.9, 1.0, 1.1, 30.0])
@pytest.mark.parametrize("power", [0.7, 1.5, 3.0])
def test_it_finds_the_boundary_from_either_side(edge, power):
    tried = []

    def excess(price):
        tried.append(price)
        return power * math.log(price / edge)

    low, high = boundary(excess, 1.0, 1.5)
    assert low <= edge * 1.0001 and edge < high <= 1.0001 * CLOSE * low
    assert len(tried) == len(set(tried)) <= 10


def test_near_the_start_few_prices_are_tried():
    tried = []

    def excess(price):
        tried.append(price)
        return 1.3 * math.log(price / 1.4)

    boundary(excess, 1.0, 1.5)
    assert len(tried) <= 4


@pytest.mark.parametrize("edge", [0.02, 1.05, 9.0])
def test_it_needs_no_more_than_signs(edge):
    low, high = boundary(lambda price: math.inf if price > edge else -math.inf, 1.0, 1.5)
    assert low <= edge < high <= 1.0001 * CLOSE * low


@pytest.mark.parametrize("edge", [0.98, 1.02])
def test_it_ends_where_a_price_is_good_enough(edge):
    tried = []

    def excess(price):
        tried.append(price)
        return math.log(price / edge)

    found = boundary(excess, 1.0, 1.0, enough=0.03)
    assert tried == [1.0]
    assert found == ((None, 1.0) if edge < 1 else (1.0, None))


def test_it_ends_as_close_as_it_is_told():
    low, high = boundary(lambda price: math.log(price / 1.05), 1.0, 1.5, close=1.001)
    assert low <= 1.05 < high <= 1.0011 * low


def test_it_says_that_all_prices_are_within_or_beyond():
    low, high = boundary(lambda price: -math.inf, 1.0, 1.5)
    assert (low, high) == (pytest.approx(FACTOR**MOST), None)
    low, high = boundary(lambda price: math.inf, 1.0, 1.5)
    assert (low, high) == (None, pytest.approx(FACTOR**-MOST))
