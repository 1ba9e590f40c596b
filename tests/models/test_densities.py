"""Tables of the rate's prior: normalised, at their mode, and priced as an adaptive code."""

import math

import numpy as np
import pytest
import torch
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.context import Model
from bitsback.compression.range_coder import Stream
from bitsback.models.densities import BEFORE, STIFFNESS, Densities

SHAPES = {(6, 2, 3, 3): 0, (7, 16): 0, (5, 12): 3, (4, 5): 5, (9,): 0}


def sample(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Integers whose rows and columns differ in density."""
    noise = np.random.default_rng(seed)
    columns = math.prod(shape[1:])
    odds = -1.5 + noise.normal(size=(shape[0], 1)) + noise.normal(size=(1, columns))
    there = noise.random((shape[0], columns)) < 1 / (1 + np.exp(-odds))
    size = noise.geometric(0.6, there.shape) * noise.choice([-1, 1], there.shape)
    return torch.from_numpy((there * size).reshape(shape)).double()


def fitted(levels: torch.Tensor, units: int, refreshes: int = 30) -> Densities:
    tables = Densities(levels, units)
    for _ in range(refreshes):
        tables.refresh(levels)
    return tables


@pytest.mark.parametrize("shape", SHAPES)
def test_each_weight_s_prior_sums_to_one(shape):
    tables = fitted(sample(shape), SHAPES[shape])
    lattice = tables.lattice(torch.ones((), dtype=torch.float64))
    levels = torch.arange(-3000, 3001, dtype=torch.float64).reshape(-1, *[1] * len(shape))
    total = lattice.price(levels).neg().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def neighbours(there: np.ndarray) -> np.ndarray:
    """The state of those before each entry of (rows, channels, lines, width), by loops."""
    state = np.zeros(there.shape, int)
    for row, channel, y, x in np.ndindex(*there.shape):
        for dy, dx in BEFORE:
            if y + dy >= 0 and 0 <= x + dx < there.shape[3]:
                state[row, channel, y, x] += there[row, channel, y + dy, x + dx]
        if channel:
            state[row, channel, y, x] += 5 * there[row, channel - 1, y, x]
    return state


def test_tables_are_at_their_mode():
    """Each entry's gradient, by loops: what is seen less what is expected, and the prior's pull."""
    levels = sample((6, 2, 3, 3))
    tables = fitted(levels, 0, refreshes=100)
    there = (levels != 0).numpy().astype(int)
    state = neighbours(there)
    surprise = there - torch.exp(-tables.sides[0]).numpy() - torch.exp(-tables.sides[2]).numpy()
    for row in range(6):
        expected = STIFFNESS["row"] * tables.row[row].item()
        assert surprise[row].sum() == pytest.approx(expected, abs=1e-6)
    for channel in range(2):
        expected = STIFFNESS["channel"] * tables.channel[channel].item()
        assert surprise[:, channel].sum() == pytest.approx(expected, abs=1e-6)
    for k in range(10):
        pull = STIFFNESS["near"] * (tables.near[k].item() - 0.7 * (k % 5))
        assert surprise[state == k].sum() == pytest.approx(pull, abs=1e-6)
    column = tables.column.reshape(2, 3, 3).numpy()
    around = 0.9 / 8 * (column[1, 0, 1] + column[1, 0, 0] + column[1, 1, 1])
    around += 0.9 / 8 * (column[1, 2, 0] + column[1, 2, 1])  # of the place (1, 0)
    pull = STIFFNESS["column"] * (column[1, 1, 0] - around)
    assert surprise[:, 1, 1, 0].sum() == pytest.approx(pull, abs=1e-6)


def adaptive(symbols: list[int]) -> float:
    """Nats of binary symbols, each by the counts of those before, plus 1/2 (the KT estimator)."""
    counts, nats = [0.5, 0.5], 0.0
    for symbol in symbols:
        nats -= math.log(counts[symbol] / sum(counts))
        counts[symbol] += 1
    return nats


def test_signs_and_magnitudes_cost_what_an_adaptive_code_charges():
    """A tensor without zeros and neighbours: all but the positions, which are compared apart."""
    levels = sample((4, 5))
    levels[levels == 0] = 1
    tables = fitted(levels, 5)
    price = tables.lattice(torch.ones((), dtype=torch.float64)).price(levels).sum()
    absent = torch.exp(-tables.sides[1])
    signs = adaptive([int(k > 0) for k in levels.flatten().tolist()])
    unary = [[] for _ in range(15)]
    for size in levels.abs().flatten().int().tolist():
        for decision in range(1, size + 1):
            unary[min(decision, 15) - 1].append(int(decision < size))
    expected = signs + sum(adaptive(decisions) for decisions in unary)
    expected += -torch.log1p(-absent).sum().item()  # the positions, given the tables
    positions, spent = tables._fit_positions(torch.ones(4, 5, dtype=torch.float64))
    assert positions.shape == (4, 5)
    assert (price + tables.own_nats - spent).item() == pytest.approx(expected, rel=1e-6)


def test_the_price_of_a_table_is_its_evidence():
    """With one table alone: -log of the integral over its entry, by the trapezoidal rule."""
    there = (torch.arange(200) % 5 == 0).double().reshape(1, -1)
    tables = Densities(there, 0)
    tables.tables = ("common",)
    for _ in range(20):
        log_odds, spent = tables._fit_positions(there)
    priced = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, there, reduction="sum")
    theta = torch.linspace(-12, 8, 20_001, dtype=torch.float64)
    prior = torch.distributions.Normal(-2.0, STIFFNESS["common"] ** -0.5).log_prob(theta)
    likely = 40 * torch.nn.functional.logsigmoid(theta)
    likely += 160 * torch.nn.functional.logsigmoid(-theta)
    evidence = torch.logsumexp(prior + likely, 0) + math.log(20 / 20_000)
    assert (priced + spent).item() == pytest.approx(-evidence.item(), abs=0.03)


@pytest.mark.parametrize(("shape", "units"), [((60, 80), 80), ((12, 6, 5, 5), 0)])
def test_within_three_percent_of_the_range_coder(shape, units):
    levels = sample(shape, 1)
    tables = fitted(levels, units)
    price = tables.lattice(torch.ones((), dtype=torch.float64)).price(levels).sum()
    stream, spent = Stream(compiled=False), {}
    seen = [0.0]

    def charge(part: str) -> None:
        spent[part] = spent.get(part, 0.0) + stream.bits() - seen[0]
        seen[0] = stream.bits()

    codes = levels.numpy().astype(np.int32)
    Model(stream, charge).tensor(shape, "weight", Quantised(codes, Uniform(0.25)))
    coded = spent["positions"] + spent["values"]
    assert (price + tables.own_nats).item() / math.log(2) == pytest.approx(coded, rel=0.03)
