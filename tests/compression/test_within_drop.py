"""Which price is taken where the labels and what is expected of them differ."""

from types import SimpleNamespace

import pytest
from bitsback.compression.errors import DropExceeded
from bitsback.compression.expected_rise import JudgedRise
from bitsback.compression.shrink_work import Trial
from bitsback.compression.within_drop import in_points, within_drop


def judged_as(table: dict[float, tuple[float, float]]):
    """Trials of these errors and expected rises by price, and a judge of 0.5 points."""
    trials = {}

    def judged(rate: float) -> Trial:
        price = min(table, key=lambda known: abs(known - rate))
        error, expected = table[price]
        trials[rate] = Trial(rate, {}, JudgedRise(0.0, 0.0, error, 0.3, expected))
        return trials[rate]

    judge = SimpleNamespace(fits=lambda rise: rise.error <= 0.5, max_drop=0.5)
    return judge, trials, judged


def test_a_price_that_labels_refuse_is_lowered():
    judge, trials, judged = judged_as({1.0: (0.6, 0.4), 0.8: (0.7, 0.3), 0.64: (0.5, 0.2)})
    assert within_drop(judge, trials, judged, 1.0).rate == pytest.approx(0.64)
    assert len(trials) == 3


def test_a_price_that_fits_is_not_passed_over():
    judge, trials, judged = judged_as({1.0: (0.6, 0.4), 0.9: (0.1, 0.3)})
    judged(0.9)
    assert within_drop(judge, trials, judged, 1.0).rate == 0.9


def test_no_price_within_the_drop_names_the_nearest():
    judge, trials, judged = judged_as({1.0: (0.6, 0.4), 0.5: (0.7, 0.2)})
    with pytest.raises(DropExceeded, match=r"a rise in error of 0\.60 ± 0\.30 points"):
        within_drop(judge, trials, judged, 1.0)


def test_where_lower_prices_fail_a_higher_one_may_do():
    """Of a network that predicts nothing, say, of which no rise is expected at all."""
    judge, trials, judged = judged_as({1.0: (0.6, 0.4), 3.0: (-2.0, 0.7)})
    judged(3.0)
    assert within_drop(judge, trials, judged, 1.0).rate == 3.0


def test_points():
    assert in_points(JudgedRise(0.0, 0.0, 0.125, 0.1)) == "+0.12 points"
    assert in_points(JudgedRise(0.0, 0.0, -0.5, 0.1, 0.25)) == "-0.50, expected +0.25 points"
