"""Weights and biases on multiples of a step: bits from the posterior's standard deviations."""

import math

import numpy as np

from .archive import MAX_LEVELS, MAX_SHIFT, Quantised, Uniform, storable
from .weights import Weights


def rule_step(precision: np.ndarray, multiplier: float) -> float:
    """The step of `uniform`, from 1 / stddev^2 of the surviving weights."""
    return multiplier * math.sqrt(12.0 / float(np.mean(precision)))


def uniform(weights: Weights, multiplier: float = 1.0) -> Quantised:
    """Weights on multiples of one step, chosen from the posterior's stddev.

    Rounding to a step moves a weight by an error of variance step^2 / 12, which costs
    step^2 / (24 stddev^2) nats on average; the posterior itself is uncertain by 1/2 nat a weight
    in the same measure (the mean of (w - loc)^2 / (2 stddev^2)). The rule: over the surviving
    weights the mean cost of rounding is multiplier^2 times that,

        step^2 / 12 * mean(1 / stddev^2) = multiplier^2.
    """
    kept = weights.kept & (weights.values != 0)
    if not kept.any():
        return Quantised(np.zeros(weights.values.shape, np.int32), Uniform(1.0))
    step = rule_step(weights.stddev[kept] ** -2.0, multiplier)
    return rounded(np.where(kept, weights.values, 0.0), step)


def unitwise(weights: Weights, multiplier: float = 1.0) -> Quantised:
    """As `uniform`, with a step for each output unit: the rule holds for each unit by itself.

    A unit's step is the finest unit's times a power of two, rounded down.
    """
    rows = (weights.kept & (weights.values != 0)).reshape(len(weights.kept), -1)
    if not rows.any():
        return uniform(weights, multiplier)
    values = np.where(rows, weights.values.reshape(rows.shape), 0.0)
    precision = np.where(rows, weights.stddev.reshape(rows.shape) ** -2.0, 0.0)
    alive = rows.any(1)
    mean = precision[alive].sum(1) / rows[alive].sum(1)
    steps = multiplier * np.sqrt(12.0 / mean)
    # The largest weight must be within the grid's reach after it is rounded, too.
    least = max(float(steps.min()), float(np.abs(values).max()) / (MAX_LEVELS / 2), 2.0**-120)
    step = float(storable(least))
    shifts = np.zeros(len(rows), dtype=np.int64)
    shifts[alive] = np.clip(np.floor(np.log2(steps / step)), 0, MAX_SHIFT)
    codes = np.rint(values / (step * 2.0 ** shifts[:, None])).astype(np.int32)
    least = int(shifts[alive].min())
    shifts = np.maximum(shifts - least, 0)
    return Quantised(codes.reshape(weights.values.shape), Uniform(step * 2.0**least, tuple(shifts)))


def rounded(values: np.ndarray, step: float) -> Quantised:
    """Values to the nearest multiples of a step (itself rounded to what a file stores)."""
    largest = float(np.abs(values).max(initial=0.0))
    grid = Uniform(float(storable(max(step, largest / (MAX_LEVELS - 1), 2.0**-120))))
    return Quantised(np.rint(values / grid.step).astype(np.int32), grid)


def on_step(symbols: np.ndarray, table: np.ndarray, step: float) -> Quantised:
    """Symbols into a table of multiples of a step as those integers, untouched.

    The step is rounded to what a file stores, so that a weight moves by 2^-9 of itself at most.
    """
    integers = np.rint(table / step).astype(np.int32)
    return Quantised(integers[symbols], Uniform(float(storable(max(step, 2.0**-120)))))


def bias(values: np.ndarray, bits: int) -> Quantised:
    """Biases on a uniform step, a power of two: 2^(bits - 1) steps reach the largest of them."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest < 2.0**-100:
        return Quantised(np.zeros(values.shape, np.int32), Uniform(1.0))
    return rounded(values, 2.0 ** (math.ceil(math.log2(largest)) - bits + 1))
