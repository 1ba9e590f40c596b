"""The search by what is expected, on made-up networks whose rise is known."""

import math

import pytest
from bitsback.compression.expected_price import factor, price_by_expectation
from bitsback.compression.expected_rise import JudgedRise
from bitsback.compression.shrink_work import Trial


def search(expected, ratio=1.0, stderr=0.2, allowed=0.5, start=1.0):
    """The price found, and all that were tried; labels show `ratio` times what is expected."""
    trials = {}

    def judged(rate: float) -> Trial:
        rise = expected(rate)
        trials[rate] = Trial(rate, {}, JudgedRise(0.0, 0.0, ratio * rise, stderr, rise))
        return trials[rate]

    return price_by_expectation(judged, trials, allowed, start), trials


@pytest.mark.parametrize("start", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("power", [0.8, 1.5, 2.5])
def test_the_price_of_what_is_allowed(start, power):
    price, trials = search(lambda rate: rate**power, start=start)
    assert math.log(price) == pytest.approx(math.log(0.5) / power, abs=math.log(1.12))
    assert price in trials and len(trials) <= 8


def test_what_labels_show_of_many_prices_corrects_it():
    sure = search(lambda rate: rate, ratio=0.5, stderr=0.01)[0]
    unsure = search(lambda rate: rate, ratio=0.5, stderr=100.0)[0]
    assert sure == pytest.approx(1.0, rel=0.12)
    assert unsure == pytest.approx(0.5, rel=0.12)


def test_the_factor_is_the_posterior_mean():
    rises = [JudgedRise(0.0, 0.0, 0.3, 0.2, 0.6), JudgedRise(0.0, 0.0, 0.8, 0.4, 1.0)]
    information = (0.6**2 / 0.04 + 1.0 / 0.16) / math.sqrt(2)
    seen = (0.6 * 0.3 / 0.04 + 0.8 / 0.16) / math.sqrt(2)
    assert factor(rises) == pytest.approx((4 + seen) / (4 + information))
    assert factor([]) == 1.0
    assert factor([JudgedRise(0.0, 0.0, 0.0, 0.0, 0.0)]) == 1.0
    assert factor([JudgedRise(0.0, 0.0, -9.0, 0.01, 1.0)]) == 0.2


def test_where_nothing_is_expected_the_search_ends():
    price, trials = search(lambda rate: 0.0)
    assert len(trials) == 8 and price == max(trials)


def test_where_too_much_is_always_expected_the_lowest_price_is_taken():
    price, trials = search(lambda rate: 90.0)
    assert len(trials) == 8 and price == min(trials)


def test_a_step_is_bisected():
    price, trials = search(lambda rate: 0.1 if rate < 0.3 else 5.0)
    assert 0.2 < price < 0.3 and len(trials) <= 8
