"""Weights within a stated error: integers on a step for matrices, fewer bits for vectors.

Every decoded value ŵ of a tensor has |ŵ - w| <= E x rms, where rms is the root mean square of the
tensor. E is `max_error` for the largest tensor. A tensor of n elements beside a largest one of N
gets E = max_error x sqrt(n / N), but at least `LEAST` x max_error. Why: take layers that each add
a relative output noise proportional to E^2, whatever their size. Then the total noise
sum(E_l^2) at sum(n_l log2(1 / E_l)) bits is least at E_l^2 proportional to n_l.

Within the bound, the integers k of a strip minimize

    sum_i (w_i / step - k_i)^2 + LAMBDA x bits(k_i),

the rate-distortion choice under an identity Hessian. bits(k) is the code length of an adaptive
order-0 coder: -log2 of the share of k among the strip's integers, found in `ROUNDS` rounds. The
range coder knows contexts besides and stays below it. At high rates the slope of a uniform
quantizer is -dD/dR = 2 ln 2 x step^2 / 12, so that LAMBDA would be ln 2 / 6 = 0.116.

A tensor with fewer than two axes longer than 1 (a bias, a norm's weight or statistics) keeps its
floats. They are rounded to the fewest bits of significand with a relative error of at most
max_error / `VECTOR` each: a zero stays zero and a positive number positive, which variances need.
"""

from math import ceil, log2, sqrt

import numpy as np

from ..archive import MAX_LEVELS, Quantised, Uniform, storable
from .dtypes import Kind, from_floats, to_floats
from .integers import STRIP, encode_integers, strips

STEP = 1.5  # steps of a grid in units of the bound: a dead zone of up to 2/3 of a step
LAMBDA = 0.1
ROUNDS = 3
LEAST = 1 / 16
VECTOR = 16
SMOOTHING = 0.5  # added to each count, for integers that a strip has not used yet
LEAST_STEP = 2.0**-100  # of a grid; tensors of smaller numbers are kept as they are


def bound_of(count: int, largest: int, max_error: float) -> float:
    """E of a matrix of `count` elements beside a largest one of `largest`."""
    return max_error * max(sqrt(count / largest), LEAST)


def not_finite(bits: np.ndarray, kind: Kind) -> bool:
    """Whether any element is NaN or infinite."""
    exponent = (1 << (8 * kind.width - 1)) - (1 << kind.mantissa)
    mask = kind.unsigned.type(exponent)
    return any(
        bool(((bits[first : first + STRIP] & mask) == mask).any())
        for first in range(0, len(bits), STRIP)
    )


def rms_of(bits: np.ndarray, kind: Kind) -> float:
    """The root mean square of a tensor's values; 0 for an empty one."""
    total = 0.0
    for first in range(0, len(bits), STRIP):
        total += float(np.square(to_floats(bits[first : first + STRIP], kind)).sum())
    return sqrt(total / max(len(bits), 1))


def lossy_matrix(
    bits: np.ndarray, shape: tuple[int, ...], kind: Kind, error: float
) -> list[bytes] | None:
    """The coded strips of a tensor, all values within `error` of the original.

    :param bits: unsigned integers, flat, of finite values.
    :param error: in the units of the values.
    :returns: None where no grid that a file can hold keeps to the error: the tensor is kept as
        it is.
    """
    step = float(storable(STEP * error)) if STEP * error > LEAST_STEP else 0.0
    coded = []
    for first, part in strips(shape):
        strip = bits[first : first + int(np.prod(part))]
        values = to_floats(strip, kind)
        if not step or np.abs(values).max(initial=0.0) / step >= MAX_LEVELS:
            return None
        tensor = quantise(values.reshape(part), step, error)
        decoded = to_floats(from_floats(tensor.values().reshape(-1), kind), kind)
        if not np.all(np.abs(decoded - values) <= error):  # the type is too coarse
            return None
        try:
            coded.append(encode_integers(tensor))
        except ValueError:  # nearly empty: byte planes are as small, and no trouble to a reader
            return None
    return coded


def quantise(values: np.ndarray, step: float, error: float) -> Quantised:
    """Integers that minimize the objective above with each value within `error`.

    :param values: float64, any shape.
    :param step: a bfloat16 number, at most 2 x error.
    """
    scaled = values / step
    nearest = np.rint(scaled).astype(np.int32)
    toward = nearest - np.sign(nearest)
    candidates = [nearest, toward, np.zeros_like(nearest)]
    chosen = nearest
    for _ in range(ROUNDS):
        most = int(np.abs(nearest).max(initial=0))
        lengths = _code_lengths(chosen, most)
        chosen, least = nearest, np.full(values.shape, np.inf)
        for candidate in candidates:
            off = np.abs(scaled - candidate)
            cost = off * off + LAMBDA * lengths[candidate + most]
            allowed = (off * step <= error) | (candidate == nearest)
            better = allowed & (cost < least)
            chosen, least = np.where(better, candidate, chosen), np.where(better, cost, least)
    return Quantised(chosen, Uniform(step))


def _code_lengths(integers: np.ndarray, most: int) -> np.ndarray:
    """Bits of each integer -most..most by its frequency, signs taken as equally likely."""
    counts = np.bincount(integers.reshape(-1) + most, minlength=2 * most + 1) + SMOOTHING
    counts = counts + counts[::-1]
    return -np.log2(counts / counts.sum())


def lossy_vector(bits: np.ndarray, kind: Kind, rms: float, max_error: float) -> np.ndarray:
    """The bits of floats rounded as the module's docstring says; unsigned integers, same shape.

    :param bits: unsigned integers, flat, of finite values.
    """
    values = to_floats(bits, kind)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest:
        return bits
    relative = min(max_error / VECTOR, max_error * rms / largest)
    keep = max(ceil(-log2(relative)) - 1, 0)
    if keep >= kind.mantissa:
        return bits
    rounded = _rounded(bits, kind, kind.mantissa - keep)
    off = np.abs(to_floats(rounded, kind) - values)
    return rounded if np.all(off <= max_error * rms) else bits


def _rounded(bits: np.ndarray, kind: Kind, drop: int) -> np.ndarray:
    """Floats whose lowest `drop` bits are rounded away, to nearest, ties to even.

    A carry moves into the exponent, as it should.
    """
    integer = kind.unsigned.type
    half = integer((1 << (drop - 1)) - 1)
    odd = (bits >> integer(drop)) & integer(1)
    return (bits + half + odd) >> integer(drop) << integer(drop)
