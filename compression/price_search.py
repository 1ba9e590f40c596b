"""The highest price of a bit that a limit allows, from few trials.

What a limit is about (a rise in error, a size) is close to a power of the price. The search
therefore interpolates its logarithm in the logarithm of the price.
"""

import math
from collections.abc import Callable

FACTOR = 4.0  # the most by which a price changes while all prices so far are on one side
OVERSHOOT = 1.2  # factor beyond the price that is expected to be at the limit
CLOSE = 1.15  # ratio of prices, some 3 % of a file, below which the search ends
INNER = 0.2  # of the way between two prices: the nearest to either of them that is tried
MOST = 8  # steps of `FACTOR` in one direction
TRUSTED = 2  # trials on one side after which `slope` is not: all steps are of `FACTOR`


def boundary(
    excess: Callable[[float], float],
    start: float,
    slope: float,
    enough: float = 0.0,
    close: float = CLOSE,
) -> tuple[float | None, float | None]:
    """The highest price found within a limit, and the lowest found beyond it.

    :param excess: log of what is measured at a price over its limit: rising with the price, and
        > 0 beyond the limit. Infinite where there is no saying how far. Where it is not so regular,
        the result is still a pair of prices that were tried.
    :param start: the first price to try.
    :param slope: about how much `excess` rises for a price higher by a factor e.
    :param enough: the search ends at an excess that is no further from 0 than this, too.
    :param close: ratio of the two prices below which it ends.
    :returns: the prices, at most `close` apart unless one of them is good enough. None for the
        first if all prices down to about start / `FACTOR`^`MOST` are beyond the limit, for the
        second if none up to as much is.
    """
    low: tuple[float, float] | None = None  # logarithm of a price, and its excess
    high: tuple[float, float] | None = None
    first = place = math.log(start)
    reach = MOST * math.log(FACTOR) + 1e-9
    trials = 0
    while abs(place - first) <= reach:
        found, trials = excess(math.exp(place)), trials + 1
        if found > 0:
            high = (place, found)
        else:
            low = (place, found)
        if abs(found) <= enough and enough:
            break
        if low is None or high is None:
            place += _move(found, slope if trials <= TRUSTED else 0.0)
        elif high[0] - low[0] <= math.log(close):
            break
        else:
            place = _between(low, high)
    return (low and math.exp(low[0])), (high and math.exp(high[0]))


def _move(found: float, slope: float) -> float:
    """To about the limit and a little beyond it; as far as allowed if there is no slope."""
    size = math.log(FACTOR)
    if slope:
        size = min(abs(found) / slope + math.log(OVERSHOOT), size)
    return -size if found > 0 else size


def _between(low: tuple[float, float], high: tuple[float, float]) -> float:
    """Where a straight line crosses 0, away from both ends."""
    rise = high[1] - low[1]
    share = -low[1] / rise if math.isfinite(rise) else 0.5
    share = min(max(share, INNER), 1 - INNER)
    return low[0] + share * (high[0] - low[0])
