"""Weights within a stated error: integers on a step for matrices, fewer bits for vectors.

Every decoded value ŵ of a tensor has |ŵ - w| <= E x rms, where rms is the root mean square of the
tensor. E is `max_error` for the largest tensor. A tensor of n elements beside a largest one of N
gets E = max_error x sqrt(n / N), but at least `LEAST` x max_error. Why: take layers that each add
a relative output noise proportional to E^2, whatever their size. Then the total noise
sum(E_l^2) at sum(n_l log2(1 / E_l)) bits is least at E_l^2 proportional to n_l.

Within the bound, the integers k of a row (an output unit) are chosen to make

    sum_i e_i^2 + MEAN x (sum_i e_i)^2 + LAMBDA x sum_i bits(k_i),   e_i = w_i / step - k_i

small. The first two terms are e^T H e with H = I + MEAN x 11^T: up to a factor, the second moments
of independent inputs with mean m, variance v and MEAN = m^2 / v. For a rectified normal variable
m^2 / v = 1 / (pi - 1) = 0.467. For inputs without a mean, the second term is of no use, and the
errors are larger for its sake. The choice is greedy along the row: a weight knows the sum of the
errors before it, in segments of `SEGMENT` weights. That errors should cancel where there are no
data is the idea of SQuant (Guo et al. 2022), which flips roundings until the sum of a kernel's or
channel's errors is small.

bits(k) is the code length of an adaptive order-0 coder: -log2 of the share of k among the strip's
integers, found in `ROUNDS` rounds. The range coder knows contexts besides and stays below it. At
high rates the slope of a uniform quantizer is -dD/dR = 2 ln 2 x step^2 / 12, which makes LAMBDA
ln 2 / 6.

A tensor with fewer than two axes longer than 1 (a bias, a norm's weight or statistics) keeps its
floats. They are rounded to the fewest bits of significand with a relative error of at most
max_error / `VECTOR` each: a zero stays zero and a positive number positive, which variances need.
"""

from math import ceil, log2, sqrt

import numpy as np

from ..archive import MAX_LEVELS, Quantised, Uniform, storable
from .dtypes import Kind, from_floats, to_floats
from .fast_integers import FAST_STRIP, encode_fast
from .integers import STRIP, encode_integers, strips

STEP = 1.5  # steps of a grid in units of the bound: a dead zone of up to 2/3 of a step
LAMBDA = 0.116
MEAN = 0.467
SEGMENT = 1_024  # weights of a row after which the sum of errors starts anew
ROUNDS = 2
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
    bits: np.ndarray, shape: tuple[int, ...], kind: Kind, error: float, fast: bool = False
) -> list[bytes] | None:
    """The coded strips of a tensor, all values within `error` of the original.

    :param bits: unsigned integers, flat, of finite values.
    :param error: in the units of the values.
    :param fast: code the integers in the profile `fast`.
    :returns: None where no grid that a file can hold keeps to the error: the tensor is kept as
        it is.
    """
    step = float(storable(STEP * error)) if STEP * error > LEAST_STEP else 0.0
    coded = []
    for first, part in strips(shape, FAST_STRIP if fast else STRIP):
        strip = bits[first : first + int(np.prod(part))]
        values = to_floats(strip, kind)
        if not step or np.abs(values).max(initial=0.0) / step >= MAX_LEVELS:
            return None
        tensor = quantise(values.reshape(part), step, error)
        decoded = to_floats(from_floats(tensor.values().reshape(-1), kind), kind)
        if not np.all(np.abs(decoded - values) <= error):  # the type is too coarse
            return None
        try:
            coded.append(encode_fast(tensor) if fast else encode_integers(tensor))
        except ValueError:  # nearly empty: byte planes are as small, and no trouble to a reader
            return None
    return coded


def quantise(values: np.ndarray, step: float, error: float) -> Quantised:
    """Integers that make the objective above small, with each value within `error`.

    :param values: float64, any shape; the first axis are the rows.
    :param step: a bfloat16 number, at most 2 x error.
    """
    scaled = values.reshape(len(values) if values.ndim > 1 else 1, -1) / step
    width = min(scaled.shape[1], SEGMENT)
    padded = np.pad(scaled, ((0, 0), (0, -scaled.shape[1] % width)))
    columns = np.ascontiguousarray(padded.reshape(-1, width).T)
    chosen = np.rint(columns).astype(np.int32)
    for _ in range(ROUNDS):
        chosen = _chosen(columns, _code_lengths(chosen), error / step)
    integers = chosen.T.reshape(padded.shape)[:, : scaled.shape[1]]
    return Quantised(integers.reshape(values.shape), Uniform(step))


def _chosen(columns: np.ndarray, lengths: np.ndarray, limit: float) -> np.ndarray:
    """One greedy pass.

    :param columns: float64, shape (width, segments): weights in steps; zeros where a row has ended,
        which stay zeros, because the limit is below 1.
    :param lengths: bits of the integers -most..most, all neighbours of the weights among them.
    :param limit: of an error, in steps, 0.5 to 1.
    :returns: int32, same shape as `columns`.
    """
    most = len(lengths) // 2
    chosen = np.empty(columns.shape, dtype=np.int32)
    carry = np.zeros(columns.shape[1])
    for place, weights in enumerate(columns):
        below = np.floor(weights).astype(np.int32)
        best, least = below, np.full(weights.shape, np.inf)
        for integer in (below, below + 1, np.zeros_like(below)):
            off = weights - integer
            cost = off * off + MEAN * np.square(carry + off) + LAMBDA * lengths[integer + most]
            better = (np.abs(off) <= limit) & (cost < least)
            best, least = np.where(better, integer, best), np.where(better, cost, least)
        chosen[place] = best
        carry += weights - best
    return chosen


def _code_lengths(integers: np.ndarray) -> np.ndarray:
    """Bits of each integer -most..most by its frequency, signs taken as equally likely.

    `most` is one more than the largest magnitude there is.
    """
    most = int(np.abs(integers).max(initial=0)) + 1
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
