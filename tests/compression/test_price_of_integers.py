"""Prices of integers, against what the range coder writes."""

import numpy as np
import pytest
import torch
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.context import Model
from bitsback.compression.geometry import flat_geometry, kernel_geometry
from bitsback.compression.price_of_integers import MAGNITUDES, fit
from bitsback.compression.range_coder import Stream


def coded_bits(codes: np.ndarray) -> float:
    stream = Stream()
    Model(stream).tensor(codes.shape, "weight", Quantised(codes.astype(np.int32), Uniform(1.0)))
    return stream.bits()


def kernels(shape, density, seed=0):
    """Integers whose density differs from row to row and from column to column."""
    draw = np.random.default_rng(seed)
    rows, columns = draw.normal(size=(shape[0], 1)), draw.normal(size=shape[1:]).reshape(1, -1)
    there = draw.random((shape[0], columns.size)) < 1 / (1 + np.exp(-rows - columns - density))
    size = draw.geometric(0.5, there.shape) * draw.choice([-1, 1], there.shape)
    return (there * size).reshape(shape)


@pytest.mark.parametrize("density", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("shape", [(48, 24, 3, 3), (96, 120)])
def test_the_total_is_what_the_coder_writes(shape, density):
    codes = kernels(shape, density)
    if len(shape) > 2:
        geometry = kernel_geometry(shape[1], shape[2:])
    else:
        geometry = flat_geometry(shape[1], shape[1])
    matrix = torch.from_numpy(codes.reshape(shape[0], -1))
    found = float(fit(matrix, geometry).bits(matrix).sum())
    # The coder has to learn its tables, which the fit does not pay for.
    assert 0.88 * coded_bits(codes) < found < 1.01 * coded_bits(codes)


def test_a_dense_row_makes_nonzeros_cheap_in_it():
    codes = torch.zeros(8, 40)
    codes[3] = 1
    prices = fit(codes, flat_geometry(40, 40))
    assert prices.other[3].max() < 1 < prices.other[5].min()
    assert prices.zero[5].max() < 1 < prices.zero[3].min()


def test_no_magnitude_costs_less_than_a_smaller_one():
    codes = torch.tensor([[5.0] * 30 + [1.0, 2.0, 40.0]])
    magnitude = fit(codes, flat_geometry(33, 33)).magnitude
    assert len(magnitude) == MAGNITUDES + 1
    assert bool((magnitude.diff() >= 0).all())


def test_all_zeros_cost_next_to_nothing():
    codes = torch.zeros(20, 50)
    prices = fit(codes, flat_geometry(50, 50))
    assert float(prices.bits(codes).sum()) < 50
