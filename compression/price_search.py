"""Where along rising prices of a bit a condition ceases to hold."""

import math
from collections.abc import Callable

FACTOR = 4.0  # between prices until the boundary lies between two of them
CLOSE = 1.25  # ratio of prices, some 4 % of a file, below which the search ends
MOST = 6  # steps of `FACTOR` in one direction


def boundary(holds: Callable[[float], bool], start: float) -> tuple[float | None, float | None]:
    """The highest price found at which a condition holds, and the lowest at which it does not.

    :param holds: true for low prices, false for high ones. Where it is not so regular, the result
        is still a pair of prices that were tried.
    :param start: the first price to try.
    :returns: the prices, at most `CLOSE` apart. None for the first if the condition holds at no
        price down to start / `FACTOR`^`MOST`, for the second if it holds at all up to as much.
    """
    low = high = None
    price = start
    for _ in range(MOST + 1):
        if holds(price):
            low, price = price, price * FACTOR
        else:
            high, price = price, price / FACTOR
        if low is not None and high is not None:
            break
    if low is None or high is None:
        return low, high
    while high / low > CLOSE:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
