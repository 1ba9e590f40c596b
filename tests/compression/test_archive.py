"""Grids hold what a file can hold, and archives what their architecture says."""

import numpy as np
import pytest
from bitsback.compression.archive import (
    MAX_LEVELS,
    Archive,
    Codebook,
    Quantised,
    Uniform,
    storable,
)
from bitsback.compression.describe import describe
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from .samples import archive, conv_net


@given(st.floats(-(2.0**120), 2.0**120, width=32))
def test_storable_is_the_nearest_bfloat16(value):
    rounded = storable(value)
    bits = int(np.float32(rounded).view(np.uint32))
    assert bits & 0xFFFF == 0
    if abs(value) > 1e-37:
        assert abs(float(rounded) - value) <= 2.0**-8 * abs(value)
        neighbours = np.array([bits - (1 << 16), bits + (1 << 16)], dtype=np.uint32)
        distances = np.abs(neighbours.view(np.float32).astype(float) - value)
        assert abs(float(rounded) - value) <= distances.min()
    assert storable(rounded) == rounded


@given(st.floats(2.0**-100, 2.0**100, width=32), st.integers(0, 7))
def test_storable_keeps_so_many_bits(value, bits):
    rounded = storable(value, bits)
    assert abs(float(rounded) - value) <= 2.0 ** -(bits + 1) * value
    assert int(rounded.view(np.uint32)) & (1 << 23 - bits) - 1 == 0


def test_storable_rounds_ties_to_even():
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8], dtype=np.float32)
    assert storable(ties).tolist() == [1.0, 1 + 4 * 2**-8]


def test_values_are_those_of_the_grid():
    codes = np.array([[-2, -1, 0], [1, 2, 0]])
    book = Codebook(storable([-0.5, -2]), storable([0.25, 3]))
    assert Quantised(codes, book).values().tolist() == [[-2, -0.5, 0], [0.25, 3, 0]]
    values = Quantised(codes, Uniform(float(storable(0.1)))).values()
    assert values.dtype == np.float32
    assert values[1, 1] == 2 * storable(0.1)


def test_uniform_products_are_exact():
    step = float(storable(0.3))
    codes = np.array([MAX_LEVELS, -MAX_LEVELS, MAX_LEVELS - 1])
    exact = [step * int(code) for code in codes]
    assert Quantised(codes, Uniform(step)).values().tolist() == exact


def test_units_have_steps_of_their_own():
    codes = np.array([[[3, -1]], [[1, 0]]])
    tensor = Quantised(codes, Uniform(0.5, (0, 3)))
    assert tensor.values().tolist() == [[[1.5, -0.5]], [[4.0, 0.0]]]
    assert tensor == Quantised(codes, Uniform(0.5, (0, 3)))
    assert tensor != Quantised(codes, Uniform(0.5, (0, 2)))
    Quantised(np.array([[MAX_LEVELS >> 3], [1]]), Uniform(1.0, (3, 0)))
    for wrong, message in (
        (lambda: Uniform(1.0, (1, 2)), "begin at 0"),
        (lambda: Uniform(1.0, (0, 13)), "at most 12"),
        (lambda: Quantised(codes, Uniform(1.0, (0, 1, 2))), "3 units for a tensor of shape"),
        (lambda: Quantised(np.array([[MAX_LEVELS], [1]]), Uniform(1.0, (1, 0))), "must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


@pytest.mark.parametrize("step", [0.1, 0.0, -1.0, float("inf"), float("nan"), 1e-40])
def test_bad_steps_are_refused(step):
    with pytest.raises(ValueError, match="step"):
        Uniform(step)


@pytest.mark.parametrize("side", [[0.5, 0.25], [0.5, 0.5], [-1], [0.1], [[1]], [np.inf]])
def test_bad_codebooks_are_refused(side):
    with pytest.raises(ValueError, match="positive"):
        Codebook(np.zeros(0), np.array(side))


@pytest.mark.parametrize("side", ["negative", "positive"])
def test_signalling_nans_are_refused_without_a_warning(side):
    """As a forged file may hold; the processor flags arithmetic with them."""
    nan = np.array([0x7F810000], dtype=np.uint32).view(np.float32)
    sides = {"negative": np.zeros(0, np.float32), "positive": np.zeros(0, np.float32), side: nan}
    with pytest.raises(ValueError, match="positive, normal and finite"):
        Codebook(**sides)


def test_bad_codes_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\].*\[0, 2\]"):
        Quantised(np.array([0, 2]), Codebook(np.zeros(0), np.ones(1)))
    with pytest.raises(ValueError, match="integers"):
        Quantised(np.array([0.5]), Uniform(1.0))


def test_archives_are_checked_against_their_architecture():
    whole = archive(conv_net())
    tensors = dict(whole.tensors)
    for wrong, message in (
        ({k: v for k, v in tensors.items() if k != "0.bias"}, "'0.bias' is missing"),
        (tensors | {"more": np.zeros(1)}, "'more' is not in"),
        (tensors | {"0.bias": np.zeros(4)}, "must be Quantised"),
        (tensors | {"0.bias": tensors["2.bias"]}, r"shape \(4,\), not \(6,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Archive(whole.architecture, wrong)
    norm = describe(nn.BatchNorm1d(2))
    state = {k: v.numpy() for k, v in nn.BatchNorm1d(2).state_dict().items()}
    with pytest.raises(ValueError, match="must be int64, not int32"):
        Archive(norm, state | {"num_batches_tracked": np.array(0, dtype=np.int32)})


def test_integers_are_copied_unless_they_are_given_away():
    codes = np.zeros((2, 3), np.int32)
    assert not np.shares_memory(Quantised(codes, Uniform(1.0)).codes, codes)
    assert np.shares_memory(Quantised(codes, Uniform(1.0), owned=True).codes, codes)
    with pytest.raises(ValueError, match="codes must lie in"):
        Quantised(codes + (1 << 17), Uniform(1.0), owned=True)
