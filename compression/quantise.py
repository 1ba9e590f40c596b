"""Surviving weights to a few shared values: codebooks fitted to the posterior.

The measure of harm is the quadratic one that the posterior implies: moving a weight from w to c
costs (w - c)^2 / (2 stddev^2) nats, the rise of the loss whose curvature is 1 / stddev^2. Zero
stays exactly zero, and a weight that is rounded to zero is pruned.
"""

import math

import numpy as np

from .archive import MANTISSA, Codebook, Quantised, Uniform, storable
from .uniform import rule_step
from .weights import Weights, taken

ENTRY_NATS = 16 * math.log(2)  # a codebook value in a file
ROUNDS = 40  # of the alternation; it has converged long before
TOLERANCE = 1e-4
FIRST_DENSITY = 0.05  # of non-zeros, before there is an assignment to count


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
    are the symbols' own empirical information content, zeros and pruned weights included, where a
    non-zero is the more likely the denser its output's and its input's weights are (`_density`), as
    a context coder sees it; so weak weights are pruned, most of all those that stand alone.
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


def _even(
    values: np.ndarray, precision: np.ndarray, multiplier: float, most: int
) -> np.ndarray | None:
    """The multiples of a step that the values reach, without 0; None if there are too many."""
    codes = np.unique(np.rint(values / rule_step(precision, multiplier)))
    codes = codes[codes != 0]
    return codes * rule_step(precision, multiplier) if 0 < len(codes) <= most else None


_NO_VALUES = (np.zeros(0, np.float32), np.zeros(0, np.float32))


def _entropy_constrained(
    weights: Weights, kept: np.ndarray, table: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Alternate assignment, centroids and frequencies; drop entries that do not pay.

    Neither the frequencies of rows and columns nor a dropped entry lower the objective for sure, so
    that the best of all rounds is returned.

    :return: the table, float64 (K,), and the symbol of each kept weight: 0 zero, 1..K.
    """
    values, precision = weights.values[kept], 0.5 * weights.stddev[kept] ** -2.0

    def stated(table: np.ndarray, symbols: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The objective, and what made it: nats of the entries, densities of the kept weights."""
        nats, dense = _nats(symbols, len(table)), _density(kept, symbols > 0)
        harm = precision * np.square(values - np.concatenate([[0.0], table])[symbols])
        total = float(harm.sum()) + rate * _description(kept, symbols, nats, dense)
        return total, nats, dense[kept]

    best = table, 1 + np.abs(values[:, None] - table).argmin(1)
    least, before, dropped = stated(*best)[0], math.inf, 0
    nats, dense = np.full(len(table), math.log(len(table))), np.full(len(values), FIRST_DENSITY)
    for _ in range(ROUNDS):
        cost = _costs(values, precision, table, rate * nats, rate * np.log(dense / (1 - dense)))
        if dropped:
            cost[:, dropped] = np.inf
        table, symbols = _centroids(values, precision, cost.argmin(1), len(table))
        total, nats, dense = stated(table, symbols)
        if total < least:
            least, best = total, (table, symbols)
        if not len(table):
            break
        dropped = 0
        if total > before - TOLERANCE * abs(before):
            cost = _costs(values, precision, table, rate * nats, rate * np.log(dense / (1 - dense)))
            dropped = _least_useful(cost, symbols, rate)
            if not dropped:
                break
        before = math.inf if dropped else total
    return best


def _centroids(
    values: np.ndarray, precision: np.ndarray, symbols: np.ndarray, entries: int
) -> tuple[np.ndarray, np.ndarray]:
    """The entries that are used, each at the weighted mean of its members, and the symbols."""
    used = np.flatnonzero(np.bincount(symbols, minlength=entries + 1)[1:]) + 1
    place = np.zeros(entries + 1, np.int64)
    place[used] = np.arange(1, len(used) + 1)
    symbols = place[symbols]
    mass = np.bincount(symbols, precision, len(used) + 1)[1:]
    return np.bincount(symbols, precision * values, len(used) + 1)[1:] / mass, symbols


def _nats(symbols: np.ndarray, entries: int) -> np.ndarray:
    """The information content of each entry among the symbols that are not 0, shape (entries,)."""
    count = np.bincount(symbols, minlength=entries + 1)[1:]
    return -np.log(count / count.sum())


def _description(
    kept: np.ndarray, symbols: np.ndarray, nats: np.ndarray, dense: np.ndarray
) -> float:
    """The nats that name every symbol of a tensor, those pruned before included, and its codebook.

    :param dense: the probability of a non-zero at each place, the tensor's shape; see `_density`.
    """
    nonzero = np.zeros(kept.shape, bool)
    nonzero[kept] = symbols > 0
    where = -np.log(dense[nonzero]).sum() - np.log1p(-dense[~nonzero]).sum()
    return float(where + nats[symbols[symbols > 0] - 1].sum()) + ENTRY_NATS * len(nats)


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


def _least_useful(cost: np.ndarray, symbols: np.ndarray, rate: float) -> int:
    """The entry that saves its members less than its own nats in the file; 0 if all pay."""
    own = np.arange(len(cost)), symbols
    now = cost[own]
    cost[own] = np.inf
    gain = np.bincount(symbols, cost.min(1) - now, cost.shape[1])
    gain[0] = np.inf
    worst = int(gain.argmin())
    return worst if gain[worst] < rate * ENTRY_NATS else 0


def _density(kept: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
    """How likely each weight is to be non-zero, from its output's and its input's share.

    :param kept: bool, the tensor's shape.
    :param nonzero: bool, one for each kept weight.
    :return: probabilities of the tensor's shape: the product of the two shares over the whole
        tensor's, each smoothed by a count of one half.
    """
    shape = kept.shape if kept.ndim > 1 else (1, kept.size)
    ones = np.zeros(kept.shape, np.float64)
    ones[kept] = nonzero
    ones = ones.reshape(shape[0], shape[1], -1)
    share = (ones.sum() + 0.5) / (ones.size + 1)
    rows = (ones.sum((1, 2)) + share) / (ones[0].size + 1)
    columns = (ones.sum((0, 2)) + share) / (ones[:, 0].size + 1)
    dense = np.clip(rows[:, None] * columns / share, 1e-6, 0.95)
    return np.broadcast_to(dense[..., None], ones.shape).reshape(kept.shape)


def on_table(symbols: np.ndarray, table: np.ndarray, bits: int = MANTISSA) -> Quantised:
    """Symbols into a table of values as codes into a codebook; unused and equal values merged.

    :param bits: of the values behind the leading one, to which they are rounded; see `storable`.
    """
    rounded = storable(table, bits)
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


def select(quantised: Quantised, places: tuple[np.ndarray | None, ...]) -> Quantised:
    """The given positions of each axis of a quantised tensor; unused codebook values dropped.

    :param places: for each axis the positions, or None for all.
    """
    codes, grid = taken(quantised.codes, places), quantised.grid
    if isinstance(grid, Codebook):
        return on_table(*table_of(Quantised(codes, grid)))
    shifts = taken(np.array(grid.shifts, dtype=np.int64), places[:1]) if grid.shifts else []
    least = int(min(shifts, default=0))
    shifts = tuple(int(shift) - least for shift in shifts)
    return Quantised(codes, Uniform(grid.step * 2.0**least, shifts))


def table_of(quantised: Quantised) -> tuple[np.ndarray, np.ndarray]:
    """The symbols, int64 from 0 on, and the table of their values, of a codebook's codes."""
    low, high = quantised.grid.bounds()
    table = quantised.grid.values(np.arange(low, high + 1))
    return quantised.codes.astype(np.int64) - low, table


def estimated_bits(quantised: Quantised) -> float:
    """What a file needs for a tensor, about: zero-order entropy of its codes, and its grid."""
    _, count = np.unique(quantised.codes, return_counts=True)
    size = max(quantised.codes.size, 1)
    values = 1 if isinstance(quantised.grid, Uniform) else sum(map(abs, quantised.grid.bounds()))
    return float(-(count * np.log2(count / size)).sum()) + 16 * values
