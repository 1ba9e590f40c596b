"""Tables of the rate's prior: normalised, at their mode, and priced as an adaptive code."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.context import Model
from bitsback.compression.geometry import flat_geometry, kernel_geometry
from bitsback.compression.range_coder import Stream
from bitsback.models.densities import (
    BEFORE,
    BEYOND,
    MAGNITUDES,
    STIFFNESS,
    Densities,
)
from bitsback.models.lending import Lending, shape_layout

SHAPES = {(6, 2, 3, 3): 0, (7, 16): 0, (5, 12): 3, (4, 5): 5, (9,): 0}


def sample(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Integers whose rows and columns differ in density."""
    noise = np.random.default_rng(seed)
    columns = math.prod(shape[1:])
    odds = -1.5 + noise.normal(size=(shape[0], 1)) + noise.normal(size=(1, columns))
    there = noise.random((shape[0], columns)) < 1 / (1 + np.exp(-odds))
    size = noise.geometric(0.6, there.shape) * noise.choice([-1, 1], there.shape)
    return torch.from_numpy((there * size).reshape(shape)).double()


def tables_of(levels: torch.Tensor, units: int = 0) -> Densities:
    return Densities(levels, shape_layout(tuple(levels.shape), units))


def fitted(levels: torch.Tensor, units: int, refreshes: int = 30) -> Densities:
    tables = tables_of(levels, units)
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


def test_signs_are_at_their_mode():
    """As above, of the signs of nonzero levels: by row, and by the neighbours' signs."""
    levels = sample((6, 2, 3, 3))
    tables = fitted(levels, 0, refreshes=100)
    negative, _, positive = torch.exp(-tables.sides).numpy()
    there, plus = (levels != 0).numpy(), (levels > 0).numpy()
    surprise = there * (plus - positive / (negative + positive))
    for row in range(6):
        expected = STIFFNESS["sign_row"] * tables.sign_row[row].item()
        assert surprise[row].sum() == pytest.approx(expected, abs=1e-6)
    state = np.zeros(levels.shape, int)
    for row, channel, y, x in np.ndindex(*levels.shape):
        near, far = (
            sum(
                np.sign(levels[row, channel, y + dy, x + dx].item())
                for dy, dx in steps
                if y + dy >= 0 and 0 <= x + dx < 3
            )
            for steps in (BEFORE, BEYOND)
        )
        state[row, channel, y, x] = 12 + 5 * np.clip(near, -2, 2) + np.clip(far, -2, 2)
    assert len(np.unique(state[there])) > 5
    for k in range(25):
        mean = 1.8 * (k // 5 - 2) + 0.3 * (k % 5 - 2)
        pull = STIFFNESS["sign_near"] * (tables.sign_near[k].item() - mean)
        assert surprise[state == k].sum() == pytest.approx(pull, abs=1e-6)


def test_removed_rows_and_columns_are_free():
    """The tables are those of the rest alone, and what is removed costs nothing."""
    levels = sample((6, 8))
    rows, columns = torch.arange(6) != 2, torch.arange(8) % 3 != 1
    levels[~rows] = 0
    levels[:, ~columns] = 0
    part = fitted(levels[rows][:, columns], 5)
    whole = tables_of(levels, 8)
    for _ in range(30):
        whole.refresh(levels, rows, columns)
    torch.testing.assert_close(whole.own_nats, part.own_nats)
    torch.testing.assert_close(whole.sides[:, rows][:, :, columns], part.sides)
    prices = whole.lattice(torch.ones((), dtype=torch.float64)).price(levels)
    assert prices[~rows].sum() + prices[:, ~columns].sum() < 1e-4
    assert (whole.sides[0, ~rows] > 13).all()


def test_channels_close_up_around_removed_ones():
    """As in the file, where the channel before is the last that is left."""
    levels = sample((10, 6, 3, 3), 2)
    channels = torch.tensor([True, False, True, False, False, True])
    levels[:, ~channels] = 0
    part, whole = fitted(levels[:, channels], 0), tables_of(levels)
    for _ in range(30):
        whole.refresh(levels, columns=channels.repeat_interleave(9))
    torch.testing.assert_close(whole.own_nats, part.own_nats)
    torch.testing.assert_close(whole.sides[:, :, channels], part.sides)


def test_columns_of_heavy_units_are_likelier():
    """Degrees by loops; a column's log odds move by 0.8 of its unit's."""
    before, levels = sample((4, 9), 3), torch.zeros(3, 4, dtype=torch.float64)
    alive = torch.tensor([True, True, False, True])
    layouts = {"a": shape_layout((4, 9)), "b": shape_layout((3, 4), 4, "a")}
    degree = Lending(layouts).degree("b", {"a": before, "b": levels}, alive)
    counts = [2 + int((row != 0).sum()) for row in before]
    mean = sum(c for c, there in zip(counts, alive.tolist(), strict=True) if there) / 3
    expected = [math.log(c / mean) for c in counts]
    torch.testing.assert_close(degree, torch.tensor(expected, dtype=torch.float64))
    plain, tables = tables_of(levels, 4), tables_of(levels, 4)
    for _ in range(30):
        plain.refresh(levels)
        tables.refresh(levels, degree=degree)

    def log_odds(found: Densities) -> torch.Tensor:
        column = found.common + found.column
        return column + (0.8 * degree if found is tables else 0)

    for found in (plain, tables):
        absent = found.sides[1, 0].exp() - 1  # the rows' entries are all alike
        torch.testing.assert_close(absent.log(), log_odds(found) + found.row[0])


def adaptive(symbols: list[int]) -> float:
    """Nats of binary symbols, each by the counts of those before, plus 1/2 (the KT estimator)."""
    counts, nats = [0.5, 0.5], 0.0
    for symbol in symbols:
        nats -= math.log(counts[symbol] / sum(counts))
        counts[symbol] += 1
    return nats


def test_magnitudes_cost_what_an_adaptive_code_charges():
    size = sample((4, 5)).abs().clamp(min=1).flatten()
    tables = tables_of(size)
    learning = tables._fit_magnitudes(size)
    price = tables.magnitude[size.long()].sum()
    unary = [[] for _ in range(15)]
    for k in size.int().tolist():
        for decision in range(1, k + 1):
            unary[min(decision, 15) - 1].append(int(decision < k))
    expected = sum(adaptive(decisions) for decisions in unary)
    assert (price + learning).item() == pytest.approx(expected, rel=1e-6)


def test_the_price_of_a_table_is_its_evidence():
    """With one table alone: -log of the integral over its entry, by the trapezoidal rule."""
    there = (torch.arange(200) % 5 == 0).double().reshape(1, -1)
    tables, place = tables_of(there), {"common": torch.zeros(200, dtype=torch.int64)}
    for _ in range(20):
        log_odds, spent = tables._fit(("common",), place, there, torch.ones_like(there))
    priced = torch.nn.functional.binary_cross_entropy_with_logits(
        log_odds.expand_as(there), there, reduction="sum"
    )
    theta = torch.linspace(-12, 8, 20_001, dtype=torch.float64)
    prior = torch.distributions.Normal(-2.0, STIFFNESS["common"] ** -0.5).log_prob(theta)
    likely = 40 * torch.nn.functional.logsigmoid(theta)
    likely += 160 * torch.nn.functional.logsigmoid(-theta)
    evidence = torch.logsumexp(prior + likely, 0) + math.log(20 / 20_000)
    assert (priced + spent).item() == pytest.approx(-evidence.item(), abs=0.03)


@pytest.mark.parametrize(
    ("shape", "units"),
    [
        ((4, 3, 3, 5), 0), ((4, 3, 7), 0), ((4, 2, 1, 1), 0), ((4, 48), 3), ((4, 48), 0),
        ((4, 3072), 0), ((4, 784), 0), ((4, 50), 7), ((4, 12), 12), ((4, 12), 5),
    ],
)  # fmt: skip
def test_columns_lie_as_in_the_coder(shape, units):
    columns = math.prod(shape[1:])
    tables = tables_of(torch.zeros(shape), units)
    channels, lines = tables.channels, tables.lines
    coder = flat_geometry(columns, units)
    if len(shape) > 2:
        coder = kernel_geometry(shape[1], shape[2:])
    if not coder.spatial:
        assert lines == 0
        return
    before = coder.around[coder.taps - 1]  # of the last tap: left of it, and above
    assert channels == coder.groups
    width = coder.taps // lines
    above = coder.taps - 1 - width if lines > 1 else columns
    assert before[:2].tolist() == [coder.taps - 2 if width > 1 else columns, above]


def test_swapped_tables_are_those_of_the_transposed_weight():
    """A transposed convolution's second axis is its outputs."""
    levels = sample((4, 6, 3, 3))
    layout = shape_layout((6, 4, 3, 3))
    plain = Densities(levels.transpose(0, 1).contiguous(), layout)
    swapped = Densities(levels, replace(layout, swapped=True))
    rows, columns = torch.arange(6) != 1, torch.arange(36) >= 9
    for _ in range(10):
        plain.refresh(levels.transpose(0, 1), rows, columns)
        swapped.refresh(levels, rows, columns)
    assert swapped.sides.equal(plain.sides.transpose(1, 2))
    assert swapped.own_nats == plain.own_nats


@pytest.mark.parametrize(
    ("shape", "units", "within"),
    [((60, 80), 80, 0.02), ((12, 6, 5, 5), 0, 0.02), ((40, 784), 0, 0.01)],
)
def test_near_the_range_coder(shape, units, within):
    """Within one percent where there is enough to learn from, within two for small tensors."""
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
    assert (price + tables.own_nats).item() / math.log(2) == pytest.approx(coded, rel=within)


def learned(sizes: list[int]) -> float:
    """Nats by which magnitudes in unary cost more in an adaptive code than under its last state."""
    seen: dict[int, list[float]] = {}
    decisions = []
    for size in sizes:
        decisions += [(min(k, MAGNITUDES - 1), 1) for k in range(1, size)]
        decisions.append((min(size, MAGNITUDES - 1), 0))
    spent = 0.0
    for context, onward in decisions:
        counts = seen.setdefault(context, [0.5, 0.5])
        spent -= math.log(counts[onward] / sum(counts))
        counts[onward] += 1
    return spent + sum(math.log(seen[c][onward] / sum(seen[c])) for c, onward in decisions)


def test_magnitudes_cost_what_an_adaptive_code_has_to_learn():
    """All else depends on where the weights are and on their signs, and so is the same."""
    levels = 4 * sample((7, 16))
    sizes = levels.abs()[levels != 0].int().tolist()
    assert max(sizes) >= MAGNITUDES  # beyond the last decision too
    more = fitted(levels, 0).own_nats - fitted(levels.sign(), 0).own_nats
    assert more.item() == pytest.approx(learned(sizes) - learned([1] * len(sizes)), rel=1e-9)
    assert more > 1
