"""Steps follow their rule, for layers, units and biases."""

import math

import numpy as np
import pytest
from bitsback.compression import quantise, uniform
from bitsback.compression.archive import Uniform
from bitsback.compression.weights import Weights

from .test_quantise import sample


def test_the_step_follows_its_rule():
    weights = sample(3)
    for multiplier in (0.5, 1.0, 2.0):
        found = uniform.uniform(weights, multiplier)
        step = found.grid.step
        precision = weights.stddev[weights.kept] ** -2.0
        assert step**2 / 12 * precision.mean() == pytest.approx(multiplier**2, rel=0.01)
        error = (found.values() - weights.values)[weights.kept]
        assert np.abs(error).max() <= step / 2 * (1 + 1e-6)
        assert not found.codes[~weights.kept].any()


def test_biases_have_steps_of_powers_of_two():
    values = np.array([0.3, -0.9, 0.0, 0.01])
    for bits in (3, 8):
        found = uniform.bias(values, bits)
        assert isinstance(found.grid, Uniform) and found.grid.step == 2.0 ** (1 - bits)
        assert np.abs(found.values() - values).max() <= found.grid.step / 2
    assert not uniform.bias(np.zeros(3), 4).codes.any()


def test_each_unit_gets_the_step_of_its_own_weights():
    """Twice the rule's step at most, and more than the rule's: steps go by powers of two."""
    weights = sample(3)
    finer = np.exp(np.linspace(-2, 2, len(weights.values)))[:, None]
    weights = Weights(weights.values, weights.stddev * finer, weights.kept)
    found = uniform.unitwise(weights, 0.5)
    for row, code in enumerate(found.codes):
        kept = weights.kept[row]
        rule = 0.5 * math.sqrt(12 / np.mean(weights.stddev[row][kept] ** -2.0))
        step = found.grid.step * 2.0 ** found.grid.shifts[row]
        assert rule / 2 * 0.99 < step <= rule * 1.01
        exact = np.where(kept, weights.values[row], 0.0)
        assert np.abs(found.values()[row] - exact).max() <= step / 2 * 1.0001
        assert not code[~kept].any()
    part = quantise.select(found, (np.arange(21, 30), np.arange(7)))
    assert np.array_equal(part.values(), found.values()[21:, :7])
    assert min(part.grid.shifts) == 0


def test_a_unit_far_coarser_or_dead_is_no_trouble():
    values = np.array([[1e-6, 0.0], [1e3, -1e3], [0.0, 0.0]])
    stddev = np.array([[1e-9, 1.0], [1e2, 1e2], [1.0, 1.0]])
    found = uniform.unitwise(Weights(values, stddev, values != 0))
    assert np.abs(found.values()[1]).tolist() == pytest.approx([1e3, 1e3], rel=0.2)
    nothing = Weights(values, stddev, np.zeros(values.shape, bool))
    assert not uniform.unitwise(nothing).codes.any()
