"""Floats as integers times one step, where they are such: found again from the values alone."""

import math

import numpy as np

MOST_CODE = 1 << 16  # in magnitude; a file's grids have no more


def common_step(values: np.ndarray) -> tuple[np.ndarray, float]:
    """The largest step that all values are multiples of, and the integers.

    Every float is an integer times a power of two, so that the step is the greatest common divisor
    of these integers: exact, and the same for equal values wherever they come from. It is a
    multiple of the step of a file's grid if all codes have a divisor in common.

    :param values: float32 or float64, any shape; all zeros have the step 1.
    :returns: codes, int64, of the same shape, and the step, such that codes * step == values.
    :raises ValueError: values that are not finite, or codes beyond 2^16 in magnitude.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("there are values that are not finite")
    kept = values[values != 0]
    if not kept.size:
        return np.zeros(values.shape, np.int64), 1.0
    mantissas, exponents = np.frexp(kept)
    integers = (mantissas * 2.0**53).astype(np.int64)
    trailing = np.log2((integers & -integers).astype(np.float64)).astype(np.int64)
    lowest = exponents - 53 + trailing  # of the last bit that is set
    base = int(lowest.min())
    # A code is at least |value| / (the smallest |value|): far apart they are on no common grid.
    if int(exponents.max()) - int(exponents.min()) > 18 or int(exponents.max()) - base > 62:
        raise ValueError(f"the values are on no grid of codes up to {MOST_CODE}")
    odd = (integers >> trailing) << (lowest - base)
    divisor = int(np.gcd.reduce(odd))
    if int(np.abs(odd).max()) // divisor > MOST_CODE:
        raise ValueError(f"the values are on no grid of codes up to {MOST_CODE}")
    codes = np.zeros(values.shape, np.int64)
    codes[values != 0] = odd // divisor
    return codes, math.ldexp(divisor, base)
