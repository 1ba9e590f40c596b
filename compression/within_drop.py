"""The price of a bit at which the drop on the labels is within what is allowed."""

from collections.abc import Callable

from .errors import DropExceeded
from .expected_rise import JudgedRise
from .judge import Judge
from .shrink_work import Trial

LOWER, MOST_LOWER = 1.25, 8  # ratio of prices, and how many of them may fail


def in_points(rise: JudgedRise) -> str:
    expected = "" if rise.expected is None else f", expected {rise.expected:+.2f}"
    return f"{rise.error:+.2f}{expected} points"


def within_drop(
    judge: Judge, trials: dict[float, Trial], judged: Callable[[float], Trial], price: float
) -> Trial:
    """The trial of about the highest price, up to one, whose rise in error is within `max_drop`.

    The rise to expect says where the search begins; what counts is the rise on the labels.

    :param trials: those so far by price, to which `judged` adds.
    :raises DropExceeded: there is none.
    """
    for _ in range(MOST_LOWER):
        if judge.fits(judged(price).rise):
            return trials[price]
        below = [rate for rate, trial in trials.items() if rate < price and judge.fits(trial.rise)]
        price = max([price / LOWER, *below])
    if fitting := [rate for rate, trial in trials.items() if judge.fits(trial.rise)]:
        return trials[max(fitting)]
    rise = min((trial.rise for trial in trials.values()), key=lambda rise: rise.error)
    raise DropExceeded(
        f"no file is within max_drop={judge.max_drop:g}: the finest found has a rise in "
        f"error of {rise.error:.2f} ± {rise.error_stderr:.2f} points; allow as much"
    )
