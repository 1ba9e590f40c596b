"""Quantisers: optimal where that can be checked, true to their rules, zero always zero."""

import itertools
import math

import numpy as np
import pytest
from bitsback.compression import kmeans, quantise, uniform
from bitsback.compression.archive import Codebook, storable
from bitsback.compression.weights import Weights, usable_stddev


def sample(seed: int, shape=(30, 40), alive=0.3) -> Weights:
    """Sparse values from a few clusters; stddevs from 0.01 to 0.1."""
    rng = np.random.default_rng(seed)
    values = rng.choice([-0.5, -0.2, 0.3, 0.7], shape) + 0.05 * rng.standard_normal(shape)
    stddev = np.exp(rng.uniform(np.log(0.01), np.log(0.1), shape))
    return Weights(values, stddev, rng.random(shape) < alive)


def cost(values, weights, table) -> float:
    return float((weights * np.square(values[:, None] - table).min(1)).sum())


@pytest.mark.parametrize("clusters", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_kmeans_is_optimal(seed, clusters):
    rng = np.random.default_rng(seed)
    values, weights = rng.standard_normal(8), rng.uniform(0.1, 5.0, 8)
    order = np.argsort(values)
    best = math.inf
    for cuts in itertools.combinations(range(1, 8), clusters - 1):  # all partitions into runs
        parts = np.split(order, cuts)
        table = np.array([np.average(values[p], weights=weights[p]) for p in parts])
        best = min(
            best,
            sum(
                (weights[p] * (values[p] - c) ** 2).sum() for p, c in zip(parts, table, strict=True)
            ),
        )
    found = kmeans.centres(values, weights, clusters)
    assert cost(values, weights, found) == pytest.approx(best, rel=1e-9)
    assert len(found) == clusters and np.all(np.diff(found) > 0)


def test_binned_kmeans_is_close_to_exact(monkeypatch):
    rng = np.random.default_rng(0)
    values, weights = rng.standard_normal(1500), rng.uniform(0.1, 5.0, 1500)
    binned = cost(values, weights, kmeans.centres(values, weights, 6))
    monkeypatch.setattr(kmeans, "BINS", 2000)
    exact = cost(values, weights, kmeans.centres(values, weights, 6))
    assert exact <= binned <= 1.005 * exact


def test_kmeans_of_few_values():
    assert kmeans.centres(np.array([2.0, 1.0, 2.0]), np.ones(3), 5).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="at least 1"):
        kmeans.centres(np.ones(2), np.ones(2), 0)


def test_a_plain_codebook_keeps_every_survivor():
    weights = sample(0)
    found = quantise.shared(weights, 4)
    assert isinstance(found.grid, Codebook) and found.grid.bounds() == (-2, 2)
    assert np.array_equal(found.codes != 0, weights.kept)
    error = np.abs(found.values() - weights.values)[weights.kept]
    assert error.max() < 0.25 and error.mean() < 0.06


def test_heavier_weights_pull_the_centre():
    values, kept = np.array([[1.0, 2.0]]), np.ones((1, 2), bool)
    found = quantise.shared(Weights(values, np.array([[1.0, 2.0]]), kept), 1)
    assert found.grid.positive[0] == storable((1.0 + 2.0 / 4) / (1 + 1 / 4))

    found = quantise.shared(Weights(values, np.array([[0.02, 0.04]]), kept), 1, rate=1e-3)
    assert found.grid.positive[0] == storable((1.0 + 2.0 / 4) / (1 + 1 / 4))


@pytest.mark.parametrize("seed", range(3))
def test_more_rate_costs_fewer_bits_and_more_harm(seed):
    weights = sample(seed)
    bits, harm = [], []
    for rate in (0.0, 0.03, 0.3, 3.0, 30.0):
        found = quantise.shared(weights, 16, rate)
        assert not found.codes[~weights.kept].any()
        bits.append(quantise.estimated_bits(found))
        moved = np.where(weights.kept, (found.values() - weights.values) / weights.stddev, 0.0)
        harm.append(float(np.square(moved).sum() / 2))
    assert bits[-1] < 0.7 * bits[0] and harm[-1] > harm[0]
    # A local search, whose values are rounded for the file: each step may miss by a thousandth.
    assert all(after <= 1.001 * before for before, after in itertools.pairwise(bits))
    assert all(after >= 0.999 * before for before, after in itertools.pairwise(harm))


def stated(weights: Weights, found, rate: float) -> float:
    """The objective in the docstring of `shared`, one weight after another."""
    codes, values = found.codes, found.values()
    rows, columns = codes.shape[:2]
    shape = (rows, columns, codes[0, 0].size)
    nonzero = (codes != 0).reshape(shape)
    share = (nonzero.sum() + 0.5) / (nonzero.size + 1)
    counts = dict(zip(*np.unique(codes[codes != 0], return_counts=True), strict=True))
    total = rate * 16 * math.log(2) * len(counts)
    for i in range(rows):
        of_row = (nonzero[i].sum() + share) / (nonzero[i].size + 1)
        for j in range(columns):
            of_column = (nonzero[:, j].sum() + share) / (nonzero[:, j].size + 1)
            dense = min(max(of_row * of_column / share, 1e-6), 0.95)
            for k in range(shape[2]):
                total -= rate * math.log(dense if nonzero[i, j, k] else 1 - dense)
    for place in np.ndindex(codes.shape):
        if codes[place]:
            total -= rate * math.log(counts[codes[place]] / sum(counts.values()))
        if weights.kept[place]:
            harm = (weights.values[place] - values[place]) / weights.stddev[place]
            total += harm**2 / 2
    return total


@pytest.mark.parametrize("rate", [0.03, 0.3, 1.0, 4.0])
@pytest.mark.parametrize(("shape", "alive"), [((30, 40), 0.3), ((6, 5, 3, 3), 1.0)])
def test_the_objective_never_rises_from_round_to_round(shape, alive, rate, monkeypatch):
    """By the slow oracle; values that are rounded for the file cost it less than a thousandth."""
    weights = sample(0, shape, alive)
    totals = []
    for rounds in range(0, 40, 3):
        monkeypatch.setattr(quantise, "ROUNDS", rounds)
        totals.append(stated(weights, quantise.shared(weights, 16, rate), rate))
    assert all(after <= 1.001 * before for before, after in itertools.pairwise(totals))
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("shape", [(7, 9), (4, 3, 2, 2)])
def test_the_nats_of_symbols_and_codebook_are_those_of_the_oracle(shape):
    """By a weight of harm so small that nothing else is left of the objective."""
    weights = sample(3, shape, 0.6)
    found = quantise.shared(weights, 3)
    free = Weights(weights.values, np.full(shape, 1e9), weights.kept)
    symbols = quantise.table_of(found)[0][weights.kept]
    low, high = found.grid.bounds()
    place = np.array([0 if k == 0 else k - low + (k < 0) for k in range(low, high + 1)])
    symbols = place[symbols]
    nats = quantise._nats(symbols, high - low)
    dense = quantise._density(weights.kept, symbols > 0)
    expected = stated(free, found, 1.0)
    got = quantise._description(weights.kept, symbols, nats, dense)
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("rate", "known", "of_another"), [(1.0, 6_597, 6_951), (4.0, 19_480, 24_789)]
)
def test_the_objective_watched_is_the_stated_one(rate, known, of_another):
    """`of_another`: what the search ended at when it watched another objective than the stated."""
    weights = sample(0, (16, 16, 3, 3), 1.0)
    found = stated(weights, quantise.shared(weights, 16, rate), rate)
    assert found < known + 0.1 * (of_another - known)


def test_rows_and_columns_make_the_density():
    """The product of the two shares over the whole's: rows are outputs, columns are inputs."""
    nonzero = np.zeros((4, 6, 5), bool)
    nonzero[:2, :3] = True
    dense = quantise._density(np.ones(nonzero.shape, bool), nonzero.ravel())
    assert dense.shape == nonzero.shape and (dense == dense[:, :, :1]).all()
    share = (30 + 0.5) / 121
    rows = (np.array([15, 15, 0, 0]) + share) / 31
    columns = (np.array([10, 10, 10, 0, 0, 0]) + share) / 21
    expected = np.clip(rows[:, None] * columns / share, 1e-6, 0.95)
    assert np.allclose(dense[:, :, 0], expected, rtol=1e-12)


def test_the_rate_beats_plain_kmeans_at_equal_harm():
    rng = np.random.default_rng(1)
    values = rng.laplace(0, 0.3, (60, 60))
    weights = Weights(values, np.full((60, 60), 0.05), np.ones((60, 60), bool))

    def measured(found):
        moved = (found.values() - values) / weights.stddev
        return float(np.square(moved).sum() / 2), quantise.estimated_bits(found)

    for clusters in (6, 8, 12):
        harm, bits = measured(quantise.shared(weights, clusters))
        rates = [
            measured(quantise.shared(weights, 64, 2.0 ** (r / 2), multiplier))
            for r in range(-8, 8)
            for multiplier in (0.5, 1.0, 2.0)
        ]
        assert min(b for h, b in rates if h <= harm) < 0.95 * bits


def test_everything_can_be_pruned():
    weights = sample(2)
    found = quantise.shared(weights, 8, rate=1e6)
    assert not found.codes.any() and found.grid.bounds() == (0, 0)
    nothing = Weights(weights.values, weights.stddev, np.zeros_like(weights.kept))
    for found in (quantise.shared(nothing, 8), uniform.uniform(nothing)):
        assert not found.codes.any()


def test_all_alive_and_one_dimension():
    values = np.linspace(-1, 1, 50)
    weights = Weights(values, np.full(50, 0.1), np.ones(50, bool))
    found = quantise.shared(weights, 8, 0.01)
    assert np.abs(found.values() - values).max() < 0.5


def test_selecting_units_drops_unused_values():
    found = quantise.shared(sample(4), 8)
    outputs, inputs = np.array([1, 5]), np.array([0, 3, 9])
    part = quantise.select(found, (outputs, inputs))
    assert np.array_equal(part.values(), found.values()[outputs][:, inputs])
    low, high = part.grid.bounds()
    assert len(np.unique(part.codes[part.codes != 0])) == high - low
    part = quantise.select(uniform.uniform(sample(4)), (outputs, inputs))
    assert part.codes.shape == (2, 3)


def test_estimated_bits():
    codes = np.array([0, 0, 1, -1], np.int32)
    grid = Codebook(np.array([-1.0], np.float32), np.array([1.0], np.float32))
    assert quantise.estimated_bits(quantise.Quantised(codes, grid)) == 4 * 1.5 + 32


def test_zero_stddevs_are_usable():
    values = np.array([3.0, 4.0])
    found = usable_stddev(np.array([0.0, 1.0]), values)
    assert found[1] == 1.0 and 0 < found[0] < 0.01
    assert (usable_stddev(np.zeros(2), np.zeros(2)) > 0).all()
