"""Learning rates and KL weights at the places that matter."""

import pytest
from bitsback.workbench.schedules import LR_SCHEDULES, kl_weight


@pytest.mark.parametrize(
    ("name", "start", "middle", "three_quarters"),
    [("constant", 1, 1, 1), ("linear", 1, 0.5, 0.25), ("hold-linear", 1, 1, 0.5)],
)
def test_learning_rate(name, start, middle, three_quarters):
    factor = LR_SCHEDULES[name]
    assert (factor(0.0), factor(0.5), factor(0.75)) == (start, middle, three_quarters)
    assert factor(1 - 1e-9) > 0


def test_every_schedule_is_tested_and_never_rises():
    assert set(LR_SCHEDULES) == {"constant", "linear", "hold-linear"}
    for factor in LR_SCHEDULES.values():
        values = [factor(i / 100) for i in range(100)]
        assert values == sorted(values, reverse=True)


def test_kl_weight_without_warmup_is_1_from_the_first_step():
    assert kl_weight(0.0, (0.0, 0.0)) == 1.0


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0, 0), (2, 0), (3, 0.25), (4, 0.5), (6, 1), (100, 1)]
)
def test_kl_weight(epoch, weight):
    assert kl_weight(epoch, (2.0, 6.0)) == weight
