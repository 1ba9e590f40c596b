"""Learning rates and KL weights at the places that matter."""

import math

import pytest
import torch
from bitsback.training.options import Options
from bitsback.training.schedules import LR_SCHEDULES, kl_factors, kl_weight


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


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0, 0.0), (2, 0.5 * 2.6), (4, 2.2), (10, 1.0), (100, 1.0)]
)
def test_kl_weight_that_overshoots(epoch, weight):
    """Times 3 at the start, times 1 from epoch 10 on, whatever the warm-up."""
    assert kl_weight(epoch, (0.0, 4.0), (3.0, 10.0)) == pytest.approx(weight)


@pytest.mark.parametrize("given", [(0.0, 5), (math.inf, 5), (math.nan, 5), (2, -1), (2, math.nan)])
def test_no_overshoot(given):
    with pytest.raises(ValueError, match=r"kl_overshoot must be a factor, .* and an epoch, .* got"):
        Options(kl_overshoot=given)


@pytest.mark.parametrize("batches", [1, 2, 18, 430, 5000])
def test_kl_shares_sum_to_one(batches):
    """Their factors are M times them; in float64, where 2^-430 is a number, and beyond."""
    for weighting in ("uniform", "blundell"):
        factors = kl_factors(weighting, batches)
        assert len(factors) == batches and sum(factors) / batches == pytest.approx(1, abs=1e-12)
        assert all(torch.tensor(factor, dtype=torch.float32) > 0 for factor in factors)
    assert kl_factors("uniform", batches) == [1.0] * batches


def test_blundells_shares():
    """2^(M - i) / (2^M - 1), i from 1: not from 0, nor over 2^(M - 1), whose sum would be 4."""
    factors = kl_factors("blundell", 5)
    assert [f / 5 for f in factors] == pytest.approx([2 ** (5 - i) / 31 for i in range(1, 6)])


def test_unknown_kl_weighting():
    with pytest.raises(ValueError, match="unknown kl_weighting 'linear'; known: uniform, blundell"):
        Options(kl_weighting="linear")
