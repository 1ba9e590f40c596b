"""Surviving weights to a few values each: fitted codebooks, or a step from the posterior's stddev.

The measure of harm is the quadratic one that the posterior implies: moving a weight from w to c
costs (w - c)^2 / (2 stddev^2) nats, the rise of the loss whose curvature is 1 / stddev^2. Zero
stays exactly zero, and a weight that is rounded to zero is pruned.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from .archive import MAX_LEVELS, Codebook, Quantised, Uniform, storable
from .kmeans import centres

ENTRY_NATS = 16 * math.log(2)  # a codebook value in a file
ROUNDS = 40  # of the alternation; it has converged long before
TOLERANCE = 1e-4
FIRST_DENSITY = 0.05  # of non-zeros, before there is an assignment to count


@dataclass(frozen=True)
class Weights:
    """A weight tensor to quantise; numpy, any shape, all of the same shape.

    :param values: float64, the posterior means.
    :param stddev: float64 > 0, the posterior standard deviations (see `usable_stddev`).
    :param kept: bool, which weights survive.
    :param symbols: int64, the entry of `table` that the posterior's own grid gives each weight;
        None where it has none.
    :param table: float64, shape (K,), of which entry 0 is 0.
    """

    values: np.ndarray
    stddev: np.ndarray
    kept: np.ndarray
    symbols: np.ndarray | None = None
    table: np.ndarray | None = None
    _centres: dict[int, np.ndarray] = field(default_factory=dict, compare=False)

    def centres(self, clusters: int) -> np.ndarray:
        """The optimal centres of the kept values, weighted by 1 / stddev^2; computed once."""
        if clusters not in self._centres:
            alive = self.kept & (self.values != 0)
            precision = self.stddev[alive] ** -2.0
            self._centres[clusters] = centres(self.values[alive], precision, clusters)
        return self._centres[clusters]


def grid_of(
    values: np.ndarray, codebook: np.ndarray, codes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and table of a posterior's own codebook, 0 put first.

    :param codes: which entry each weight takes; None: the nearest.
    """
    if codes is None:
        order = np.argsort(codebook)
        middles = (codebook[order][1:] + codebook[order][:-1]) / 2
        codes = order[np.searchsorted(middles, values)]
    symbols = np.where(codebook[codes] == 0, 0, codes + 1)
    return symbols.astype(np.int64), np.concatenate([[0.0], codebook])


def usable_stddev(stddev: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Standard deviations > 0: no less than 2^-10 of the values' root mean square.

    A stddev of 0 (a Delta guide, a clamped weight) would otherwise outweigh all others without
    bound; where all are 0, every weight counts the same.
    """
    size = math.sqrt(float(np.mean(np.square(values)))) if values.size else 0.0
    return np.maximum(stddev.astype(np.float64), (size or 1.0) * 2.0**-10)


def shared(
    weights: Weights, clusters: int, rate: float = 0.0, multiplier: float | None = None
) -> Quantised:
    """Weights on a fitted codebook of at most `clusters` values besides zero.

    With `rate` 0 this is the optimal weighted one-dimensional k-means of the surviving weights,
    weights 1 / stddev^2. With `rate` > 0 it minimises, by alternation from there (or, given
    `multiplier`, from the even grid of `uniform` if that takes at most `clusters` values; often
    the better start),

        sum (w - c)^2 / (2 stddev^2)  +  rate * (nats that name each symbol and the codebook),

    the description length whose second part is counted `rate` times: 1 is the balance of a
    posterior of the whole training set, larger gives up more likelihood for each bit. The nats
    are the symbols' own empirical information content, zeros included, where a non-zero is the
    more likely the denser its output's and its input's weights are (`_density`), as a context
    coder sees it; so weak weights are pruned, most of all those that stand alone.
    """
    kept = weights.kept & (weights.values != 0)
    if not kept.any():
        return Quantised(np.zeros(weights.values.shape, np.int32), Codebook(*_NO_VALUES))
    values, precision = weights.values[kept], weights.stddev[kept] ** -2.0
    table = _even(values, precision, multiplier, clusters) if multiplier else None
    table = weights.centres(clusters) if table is None else table
    if rate > 0:
        table, nearest = _entropy_constrained(weights, kept, table, rate)
    else:
        nearest = 1 + np.abs(values[:, None] - table).argmin(1)
    symbols = np.zeros(weights.values.shape, np.int64)
    symbols[kept] = nearest
    return on_table(symbols, np.concatenate([[0.0], table]))


def _step(precision: np.ndarray, multiplier: float) -> float:
    """The step of `uniform`, from 1 / stddev^2 of the surviving weights."""
    return multiplier * math.sqrt(12.0 / float(np.mean(precision)))


def _even(
    values: np.ndarray, precision: np.ndarray, multiplier: float, most: int
) -> np.ndarray | None:
    """The multiples of a step that the values reach, without 0; None if there are too many."""
    codes = np.unique(np.rint(values / _step(precision, multiplier)))
    codes = codes[codes != 0]
    return codes * _step(precision, multiplier) if 0 < len(codes) <= most else None


_NO_VALUES = (np.zeros(0, np.float32), np.zeros(0, np.float32))


def _entropy_constrained(
    weights: Weights, kept: np.ndarray, table: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Alternate assignment, centroids and frequencies; drop entries that do not pay.

    :return: the table, float64 (K,), and the symbol of each kept weight: 0 zero, 1..K.
    """
    values, precision = weights.values[kept], 0.5 * weights.stddev[kept] ** -2.0
    nats, dense = np.full(len(table), math.log(len(table))), np.full(len(values), FIRST_DENSITY)
    before, dropped = math.inf, 0
    for _ in range(ROUNDS):
        cost = _costs(values, precision, table, rate * nats, rate * np.log(dense / (1 - dense)))
        symbols = cost.argmin(1)
        best = cost[np.arange(len(cost)), symbols]
        total = float((best - rate * np.log1p(-dense)).sum()) + rate * ENTRY_NATS * len(table)
        if total > before * (1 - TOLERANCE):
            dropped = _least_useful(cost, symbols, best, rate)
            if not dropped:
                return table, symbols
            cost[:, dropped] = np.inf
            symbols = cost.argmin(1)
        before = math.inf if dropped else total
        dropped = 0
        used = np.flatnonzero(np.bincount(symbols, minlength=len(table) + 1)[1:])
        if not len(used):
            break
        symbols = np.searchsorted(used, symbols - 1) * (symbols > 0) + (symbols > 0)
        count = np.bincount(symbols, minlength=len(used) + 1)[1:]
        table = np.bincount(symbols, precision * values)[1:] / np.bincount(symbols, precision)[1:]
        nats = -np.log(count / count.sum())
        dense = _density(kept, symbols > 0)
    return table, symbols


def _costs(
    values: np.ndarray,
    precision: np.ndarray,
    table: np.ndarray,
    entry: np.ndarray,
    odds: np.ndarray,
) -> np.ndarray:
    """The cost [nats] of each symbol for each weight, less what all symbols of a weight share.

    :param precision: 1 / (2 stddev^2), shape (n,).
    :param entry: the weighted nats that name each entry among the non-zeros, shape (K,).
    :param odds: the weighted log odds that the weight is not zero, shape (n,).
    :return: shape (n, K + 1); column 0 is zero.
    """
    cost = np.empty((len(values), len(table) + 1))
    cost[:, 0] = precision * values**2 + odds
    np.subtract(values[:, None], table, out=cost[:, 1:])
    np.square(cost[:, 1:], out=cost[:, 1:])
    cost[:, 1:] *= precision[:, None]
    cost[:, 1:] += entry
    return cost


def _least_useful(cost: np.ndarray, symbols: np.ndarray, best: np.ndarray, rate: float) -> int:
    """The entry that saves its members less than its own nats in the file; 0 if all pay."""
    cost = cost.copy()
    cost[np.arange(len(cost)), symbols] = np.inf
    gain = np.bincount(symbols, cost.min(1) - best, cost.shape[1])
    gain[0] = np.inf
    worst = int(gain.argmin())
    return worst if gain[worst] < rate * ENTRY_NATS else 0


def _density(kept: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
    """How likely each kept weight is to be non-zero, from its output's and its input's share.

    :param kept: bool, the tensor's shape.
    :param nonzero: bool, one for each kept weight.
    :return: probabilities of the shape of `nonzero`: the product of the two shares over the
        whole tensor's, each smoothed by a count of one half.
    """
    shape = kept.shape if kept.ndim > 1 else (1, kept.size)
    ones = np.zeros(kept.shape, np.float64)
    ones[kept] = nonzero
    ones = ones.reshape(shape[0], shape[1], -1)
    share = (ones.sum() + 0.5) / (ones.size + 1)
    rows = (ones.sum((1, 2)) + share) / (ones[0].size + 1)
    columns = (ones.sum((0, 2)) + share) / (ones[:, 0].size + 1)
    dense = np.clip(rows[:, None] * columns / share, 1e-6, 0.95)
    return np.broadcast_to(dense[..., None], ones.shape).reshape(kept.shape)[kept]


def on_table(symbols: np.ndarray, table: np.ndarray) -> Quantised:
    """Symbols into a table of values as codes into a codebook; unused and equal values merged."""
    rounded = storable(table)
    rounded[np.abs(rounded) < 2.0**-126] = 0.0  # too small to store
    used = np.unique(rounded[np.unique(symbols)])
    positive = used[used > 0]
    negative = used[used < 0][::-1]
    codes = np.where(
        rounded > 0,
        np.searchsorted(positive, rounded) + 1,
        -np.searchsorted(-negative, -rounded) - 1,
    )
    codes[rounded == 0] = 0
    return Quantised(codes[symbols].astype(np.int32), Codebook(negative, positive))


def select(quantised: Quantised, outputs: np.ndarray, inputs: np.ndarray) -> Quantised:
    """The given rows and columns of a quantised tensor; codebook values left unused dropped."""
    part = Quantised(quantised.codes[outputs][:, inputs], quantised.grid)
    return part if isinstance(part.grid, Uniform) else on_table(*table_of(part))


def table_of(quantised: Quantised) -> tuple[np.ndarray, np.ndarray]:
    """The symbols, int64 from 0 on, and the table of their values, of a codebook's codes."""
    low, high = quantised.grid.bounds()
    table = quantised.grid.values(np.arange(low, high + 1))
    return quantised.codes.astype(np.int64) - low, table


def uniform(weights: Weights, multiplier: float = 1.0) -> Quantised:
    """Weights on multiples of one step, chosen from the posterior's stddev.

    Rounding to a step moves a weight by an error of variance step^2 / 12, which costs
    step^2 / (24 stddev^2) nats on average; the posterior itself is uncertain by 1/2 nat a weight
    in the same measure (the mean of (w - loc)^2 / (2 stddev^2)). The rule: over the surviving
    weights the mean cost of rounding is multiplier^2 times that,

        step^2 / 12 * mean(1 / stddev^2) = multiplier^2.
    """
    kept = weights.kept & (weights.values != 0)
    if not kept.any():
        return Quantised(np.zeros(weights.values.shape, np.int32), Uniform(1.0))
    step = _step(weights.stddev[kept] ** -2.0, multiplier)
    return rounded(np.where(kept, weights.values, 0.0), step)


def rounded(values: np.ndarray, step: float) -> Quantised:
    """Values to the nearest multiples of a step (itself rounded to what a file stores)."""
    largest = float(np.abs(values).max(initial=0.0))
    grid = Uniform(float(storable(max(step, largest / (MAX_LEVELS - 1), 2.0**-120))))
    return Quantised(np.rint(values / grid.step).astype(np.int32), grid)


def bias(values: np.ndarray, bits: int) -> Quantised:
    """Biases on a uniform step, a power of two: 2^(bits - 1) steps reach the largest of them."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest < 2.0**-100:
        return Quantised(np.zeros(values.shape, np.int32), Uniform(1.0))
    return rounded(values, 2.0 ** (math.ceil(math.log2(largest)) - bits + 1))


def estimated_bits(quantised: Quantised) -> float:
    """What a file needs for a tensor, about: zero-order entropy of its codes, and its grid."""
    _, count = np.unique(quantised.codes, return_counts=True)
    size = max(quantised.codes.size, 1)
    values = 1 if isinstance(quantised.grid, Uniform) else sum(map(abs, quantised.grid.bounds()))
    return float(-(count * np.log2(count / size)).sum()) + 16 * values
