"""The inner loops of the rate-distortion quantizer, for numba: one block of columns, row by row.

They compute what the loops over columns in rate_distortion.py do, in the same order. Arrays are of
one group: `left`, `slope`, `codes`, `zero` and `other` have shape (rows, columns), `upper` and
`second` (columns, columns), `errors` and `moves` (rows, columns of the block), `rows` (rows,) and
`weigh` (columns,).
"""

from __future__ import annotations

import numpy as np

COMPILED_FROM = 1 << 14  # weights of a matrix from which the loops pay; 2 ms by columns


def feedback_block(
    left, codes, errors, upper, rows, weigh, zero, other, magnitude, step, rate, first, last
):
    """The part of `rate_distortion.feedback` within a block of columns; changes arrays in place."""
    for r in range(left.shape[0]):
        for j in range(first, last):
            target = left[r, j]
            code = chosen(
                target / step, rows[r] * weigh[j], zero[r, j], other[r, j], magnitude, rate
            )
            codes[r, j] = code
            error = (target - step * code) / upper[j, j]
            errors[r, j - first] = error
            for k in range(j + 1, last):
                left[r, k] -= error * upper[j, k]


def descend_block(
    slope, codes, moves, second, rows, weigh, zero, other, magnitude, step, rate, first, last
):
    """The part of `rate_distortion.descend` within a block of columns; changes arrays in place."""
    for r in range(slope.shape[0]):
        for j in range(first, last):
            place = codes[r, j] - slope[r, j] / (second[j, j] * step)
            code = chosen(place, rows[r] * weigh[j], zero[r, j], other[r, j], magnitude, rate)
            move = step * (code - codes[r, j])
            codes[r, j] = code
            moves[r, j - first] = move
            if move != 0:
                for k in range(j + 1, last):
                    slope[r, k] += move * second[j, k]


def chosen(place, weigh, zero, other, magnitude, rate):
    """The integer n of least weigh (n - place)^2 + rate bits(n); see `rate_distortion._Table`."""
    size = abs(place)
    below = np.int64(size)
    last = magnitude.shape[0] - 1
    best, least = 0, weigh * size * size + rate * zero
    for n in (below + 1, below, below - 1):
        if n > 0:
            if n > last:
                bits = magnitude[last] + (n - last) * (magnitude[last] - magnitude[last - 1])
            else:
                bits = magnitude[n]
            cost = weigh * (n - size) * (n - size) + rate * (other + bits)
            if cost < least:
                best, least = n, cost
    return -best if place < 0 else best


# Called by those that loop.
SHARED = (chosen,)
