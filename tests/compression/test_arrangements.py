"""Numbers of orders, against all orders written out."""

from itertools import permutations

import pytest
from bitsback.compression.arrangements import arranged, count, rank
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("many", [[1, 1, 1], [2, 1, 3], [1], [4], [2, 2], [], [0, 2, 1]])
def test_ranks_are_the_places_in_a_sorted_list_of_all_orders(many):
    members = [i for i, m in enumerate(many) for _ in range(m)]
    every = sorted(set(permutations(members)))
    assert count(many) == len(every)
    assert [rank(list(order), many) for order in every] == list(range(len(every)))
    assert [tuple(arranged(place, many)) for place in range(len(every))] == every


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(0, 10**200))
def test_arranged_is_the_inverse_of_rank(many, number):
    place = number % count(many)
    order = arranged(place, many)
    assert sorted(order) == [i for i, m in enumerate(many) for _ in range(m)]
    assert rank(order, many) == place
