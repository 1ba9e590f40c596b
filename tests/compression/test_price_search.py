"""The search for the highest price that fits."""

import pytest
from bitsback.compression.price_search import CLOSE, FACTOR, MOST, boundary


@pytest.mark.parametrize("edge", [1e-3, 0.9, 1.0, 1.1, 30.0])
def test_it_finds_the_boundary_from_either_side(edge):
    tried = []

    def holds(price):
        tried.append(price)
        return price <= edge

    low, high = boundary(holds, 1.0)
    assert low <= edge < high <= 1.0001 * CLOSE * low
    assert len(tried) == len(set(tried)) <= 14


def test_it_says_that_a_condition_always_or_never_holds():
    assert boundary(lambda price: True, 1.0) == (FACTOR**MOST, None)
    assert boundary(lambda price: False, 1.0) == (None, FACTOR**-MOST)
