"""Units, their joins, and axes as products."""

import random

import numpy as np
import torch
from bitsback.graph.units import Joint, Units, free, ids_of, regroup, size_of, tracked
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 20))
def test_joins_are_those_of_a_slow_union(seed):
    rng = random.Random(seed)
    units, sets, frozen = Units(), [], set()
    for i in range(12):
        units.new(1)
        sets.append({i})
    for _ in range(rng.randrange(12)):
        count = rng.randrange(1, 5)
        left, right = ([rng.randrange(12) for _ in range(count)] for _ in range(2))
        units.join(np.array(left), np.array(right))
        for a, b in zip(left, right, strict=True):
            both = sets[a] | sets[b]
            for member in both:
                sets[member] = both
        if rng.randrange(3) == 0:
            unit = rng.randrange(12)
            units.freeze(np.array([unit]))
            frozen.add(unit)
    every = np.arange(12)
    np.testing.assert_array_equal(units.find(every), [min(s) for s in sets])
    np.testing.assert_array_equal(units.is_frozen(every), [bool(s & frozen) for s in sets])


def test_joins_broadcast():
    units = Units()
    ids = units.new(6).reshape(2, 3)
    units.join(ids[:, :1], ids)
    np.testing.assert_array_equal(units.find(ids), [[0, 0, 0], [3, 3, 3]])
    assert len(units) == 6


def test_many_units():
    units = Units()
    ids = units.new(1000)
    units.join(ids[:-1], ids[1:])
    assert not units.find(ids).any()
    assert not units.is_frozen(ids).any()
    units.freeze(ids[500:501])
    assert units.is_frozen(ids).all()


def test_a_product_repeats_its_units():
    units = Units()
    ids = units.new(3)
    axis = [*free(2), *tracked(ids), *free(4)]
    assert size_of(axis) == 24
    np.testing.assert_array_equal(ids_of(axis, units), np.tile(np.repeat(ids, 4), 2))
    assert ids_of(free(5), units) is None


def test_two_factors_with_units_are_frozen():
    units = Units()
    a, b = units.new(2), units.new(3)
    assert ids_of([*tracked(a), *tracked(b)], units) is None
    assert units.is_frozen(np.concatenate([a, b])).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 20))
def test_reshapes_move_units_as_torch_moves_numbers(seed):
    """Where a position still has a unit, it is that of the number that stands there."""
    rng = random.Random(seed)
    sizes = [rng.choice([1, 2, 3, 4, 6]) for _ in range(rng.randrange(1, 4))]
    factors = [f for n in sizes for f in {1: [1], 2: [2], 3: [3], 4: [2, 2], 6: [2, 3]}[n]]
    new = []
    while factors:
        count = rng.randrange(1, 3)
        new.append(int(np.prod(factors[:count])))
        factors = factors[count:]
    units, at = Units(), rng.randrange(len(sizes))
    ids = units.new(sizes[at])
    axes = [tracked(ids) if i == at else free(n) for i, n in enumerate(sizes)]
    view = [-1 if i == at else 1 for i in range(len(sizes))]
    numbers = torch.from_numpy(ids).reshape(view).expand(sizes).reshape(new).numpy()
    for d, axis in enumerate(regroup(axes, tuple(new), units)):
        found = ids_of(axis, units)
        if found is not None:
            shape = [-1 if i == d else 1 for i in range(len(new))]
            there = units.find(found).reshape(shape)
            np.testing.assert_array_equal(np.broadcast_to(there, new), units.find(numbers))


def test_an_axis_that_is_split():
    """Slices of the first axis that is left live or die together; a chosen axis ties its slices."""
    units = Units()
    joint = Joint(units, units.new(12).reshape(3, 2, 2))
    joint.tie(joint.axes[0])
    heads, each = joint.axes
    joint.resolve()
    assert each.ids is None
    np.testing.assert_array_equal(heads.ids, [0, 2])
    np.testing.assert_array_equal(units.find(np.arange(12)), [0, 0, 2, 2] * 3)
