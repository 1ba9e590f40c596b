"""The price of a bit at which the rise to expect is what is allowed.

The rise to expect (expected_rise.py) hardly suffers from chance, but may be too large or too small
by a factor, as probabilities are near the edges of classes. The labels tell the factor: it has a
normal prior of mean 1, and the rises of all prices so far are taken as normal around the factor
times what was expected. They are of the same examples, so n of them count as root n.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from .expected_rise import JudgedRise
from .shrink_work import Trial

PRIOR = 0.5  # standard deviation of the factor
LEAST_FACTOR = 0.2
SLOPE = 1.5  # about how much log(rise) rises with log(price), where one price is known
SLOPES = 0.7, 3.0  # between which a slope is believed that two prices show
FARTHEST = 4.0  # ratio of a price to the nearest that was tried
NEAR = 1.1  # ratio of prices that need not both be tried
MOST = 8  # prices
SMALLEST = 1e-6  # points: an expected rise of less counts as much


def price_by_expectation(
    judged: Callable[[float], Trial], trials: Mapping[float, Trial], allowed: float, start: float
) -> float:
    """A price that was tried, about the highest of which no more than is allowed is expected.

    :param judged: tries a price.
    :param trials: those so far by price, to which `judged` adds.
    :param allowed: rise in error [points], more than 0.
    :param start: the first price.
    """
    price = start
    for _ in range(MOST):
        judged(price)
        wanted = allowed / factor(trial.rise for trial in trials.values())
        found = {rate: max(t.rise.expected, SMALLEST) for rate, t in trials.items()}
        price = _price_of(wanted, found)
        nearest = min(found, key=lambda rate: abs(math.log(rate / price)))
        if max(nearest / price, price / nearest) <= NEAR:
            return nearest
    return max((rate for rate, rise in found.items() if rise <= wanted), default=min(found))


def factor(rises: Iterable[JudgedRise]) -> float:
    """The posterior mean of the rise on labels over the one to expect, `LEAST_FACTOR` at least."""
    seen = [rise for rise in rises if math.isfinite(rise.error_stderr) and rise.error_stderr > 0]
    top = bottom = PRIOR**-2
    for rise in seen:
        weight = rise.expected / rise.error_stderr**2 / math.sqrt(len(seen))
        top, bottom = top + weight * rise.error, bottom + weight * rise.expected
    return max(top / bottom, LEAST_FACTOR)


def _price_of(wanted: float, found: Mapping[float, float]) -> float:
    """Where a line through the logarithms comes to the rise that is wanted.

    :param found: expected rises by price.
    """
    low = max((rate for rate, rise in found.items() if rise <= wanted), default=None)
    high = min((rate for rate in found if low is None or rate > low), default=None)
    if low is not None and high is not None:
        slope = _slope(low, high, found, 0.0)
        return low * (wanted / found[low]) ** (1 / slope) if slope else math.sqrt(low * high)
    rates = sorted(found)
    ends = rates[-2:] if high is None else rates[:2]
    slope = _slope(*ends, found, SLOPES[0]) if len(ends) == 2 else SLOPE
    edge = ends[-1] if high is None else ends[0]
    ratio = (wanted / found[edge]) ** (1 / slope)
    return edge * min(max(ratio, 1 / FARTHEST), FARTHEST)


def _slope(low: float, high: float, found: Mapping[float, float], least: float) -> float:
    slope = math.log(found[high] / found[low]) / math.log(high / low)
    return min(max(slope, least), SLOPES[1]) if least else slope
