"""Integers by rate-distortion: against brute force, against plain rounding, and their step."""

import itertools
import math

import pytest
import torch
from bitsback.compression.price_of_integers import Prices
from bitsback.compression.rate_distortion import (
    descend,
    distortion,
    feedback,
    independent,
    quantize,
    step_for,
)

STEP, ONE = 0.5, torch.ones(1, 1)


def problem(rows=3, columns=4, groups=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, 50, columns, generator=generator)
    x = x + 2 * x[:, :, :1]  # correlated columns
    weight = torch.randn(groups, rows, columns, generator=generator)
    return weight, x.mT @ x / 50 + 0.01 * torch.eye(columns)


def prices(codes):
    rows, columns = codes.flatten(0, 1).shape
    generator = torch.Generator().manual_seed(1)
    zero, other = torch.rand(2, rows, columns, generator=generator)
    magnitude = torch.cat([torch.zeros(1), 1 + torch.arange(16.0)])
    return Prices(zero, 1 + other, magnitude)


def objective(codes, weight, second, rate):
    bits = prices(codes).bits(codes.flatten(0, 1)).sum()
    return distortion(codes, weight, second, ONE, STEP) + rate * float(bits)


def best(weight, second, rate):
    """The least objective of one row, over all integers that may be worth it."""
    choices = itertools.product(range(-5, 6), repeat=weight.shape[2])
    every = torch.tensor(list(choices), dtype=torch.float32)
    rows = every[:, None, None]
    return min(objective(codes, weight, second, rate) for codes in rows)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5])
def test_one_row_is_near_the_best_of_all_integers(rate):
    weight, second = problem(rows=1, columns=3)
    codes = quantize(weight, second, ONE, STEP, rate, prices, sweeps=3)
    least = best(weight, second, rate)
    assert least - 1e-5 <= objective(codes, weight, second, rate) <= 1.1 * least + 0.01


def test_no_sweep_raises_the_objective():
    weight, second = problem(rows=5, columns=130)  # more than two blocks
    codes = torch.round(weight / STEP)
    before = objective(codes, weight, second, 0.1)
    for _ in range(3):
        codes = descend(codes, weight, second, ONE, STEP, 0.1, prices(codes))
        after = objective(codes, weight, second, 0.1)
        assert after <= before + 1e-3
        before = after
    again = descend(codes, weight, second, ONE, STEP, 0.1, prices(codes))
    assert objective(again, weight, second, 0.1) == pytest.approx(before, rel=0.01)


def test_feedback_beats_rounding():
    weight, second = problem(rows=20, columns=100)
    codes = feedback(weight, second, ONE, STEP, 0.0, prices(weight))
    plain = distortion(torch.round(weight / STEP), weight, second, ONE, STEP)
    assert distortion(codes, weight, second, ONE, STEP) < 0.7 * plain


def surgeon(weight, second, rate):
    """Optimal brain surgeon by its definition: the inverse of what is left, at every column."""
    left, hessian = weight[0].double().clone(), second[0].double()
    table = prices(weight)
    codes = torch.zeros_like(left)
    for j in range(left.shape[1]):
        inverse = hessian[j:, j:].inverse()
        for r in range(left.shape[0]):
            sign = math.copysign(1.0, left[r, j])
            below = math.floor(abs(float(left[r, j])) / STEP)
            choices = [0.0, *(sign * n for n in (below - 1, below, below + 1) if n > 0)]
            cost = [
                (n * STEP - float(left[r, j])) ** 2 / (2 * float(inverse[0, 0]))
                + rate * float(bits_of(table, r, j, n))
                for n in choices
            ]
            codes[r, j] = choices[cost.index(min(cost))]
            error = left[r, j] - STEP * codes[r, j]
            left[r, j:] -= error * inverse[0] / inverse[0, 0]
    return codes[None].float()


def bits_of(table, row, column, integer):
    if not integer:
        return table.zero[row, column]
    return table.other[row, column] + table.of_magnitude(torch.tensor(integer))


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_feedback_is_the_optimal_brain_surgeon(rate):
    weight, second = problem(rows=4, columns=80)  # more than one block
    codes = feedback(weight, second, ONE, STEP, rate, prices(weight))
    assert torch.equal(codes, surgeon(weight, second, rate))


@pytest.mark.parametrize("seed", range(8))
def test_without_a_price_it_is_never_worse_than_rounding(seed):
    weight, second = problem(rows=6, columns=10, seed=seed)
    codes = quantize(weight, second, ONE, STEP, 0.0, prices)
    plain = distortion(torch.round(weight / STEP), weight, second, ONE, STEP)
    assert distortion(codes, weight, second, ONE, STEP) < plain


def test_the_distortion_is_the_mean_loss_of_the_outputs():
    weight, _ = problem(rows=3, columns=4)
    x, codes = torch.randn(30, 4), torch.round(weight / STEP)
    lost = (x @ (STEP * codes - weight)[0].T).square().sum(1).mean() / 2
    second = (x.T @ x / 30)[None]
    assert distortion(codes, weight, second, 7 * ONE, STEP) == pytest.approx(
        7 * float(lost), rel=1e-5
    )


def test_without_correlations_or_a_price_it_is_rounding():
    weight, _ = problem(rows=4, columns=70, groups=2)
    second = torch.eye(70).expand(2, 70, 70).contiguous()
    rounded = torch.round(weight / STEP)
    assert torch.equal(feedback(weight, second, ONE, STEP, 0.0, prices(weight)), rounded)
    assert torch.equal(independent(weight, torch.ones(2, 70), ONE, STEP, 0.0, prices), rounded)


def test_a_price_prunes():
    weight, second = problem(rows=10, columns=50)
    kept = [
        int(quantize(weight, second, ONE, STEP, rate, prices).count_nonzero())
        for rate in (0.0, 0.1, 100.0)
    ]
    assert kept[0] > kept[1] > kept[2] == 0


def test_groups_do_not_interact():
    weight, second = problem(rows=3, columns=20, groups=2)
    whole = feedback(weight, second, ONE, STEP, 0.0, prices(weight))
    for g in (0, 1):
        part = weight[g : g + 1], second[g : g + 1]
        assert torch.equal(whole[g : g + 1], feedback(*part, ONE, STEP, 0.0, prices(part[0])))


def test_the_step_is_where_bits_and_distortion_balance():
    """The rate is -d(distortion) / d(bits) of a uniform quantizer of that step."""
    rate, second = 1e-3, 4.0 * torch.eye(8)[None]
    step = step_for(second, 0.5 * ONE, rate)
    slope = -2 * math.log(2) * (0.5 * 4.0) * step**2 / 24
    assert slope == pytest.approx(-rate)
    assert step_for(torch.full((1, 8), 4.0), 0.5 * ONE, rate) == pytest.approx(step)


def test_the_integers_of_a_wide_price_are_among_their_candidates():
    """Magnitudes beyond the table's end cost as much more each as the last."""
    table = prices(torch.zeros(1, 1, 1))
    assert table.of_magnitude(torch.tensor([0, 1, -16, 18])).tolist() == [0, 1, 16, 18]


def test_a_row_of_more_importance_is_nearer():
    weight, second = problem(rows=2, columns=60)
    weight[:, 1] = weight[:, 0]
    importance = torch.tensor([[0.2, 5.0]])
    codes = quantize(weight, second, importance, STEP, 0.2, prices)
    one, other = (STEP * codes - weight)[0].square().sum(1)
    assert other < 0.7 * one


def test_the_step_goes_by_the_geometric_mean_of_the_rows():
    second = torch.eye(8)[None]
    rows = step_for(second, torch.tensor([[0.1, 10.0]]), 1e-3)
    assert rows == pytest.approx(step_for(second, ONE, 1e-3))
