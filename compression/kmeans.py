"""Optimal weighted k-means in one dimension, by dynamic programming."""

import numpy as np

BINS = 256  # sorted values are put into at most so many bins first
ROUNDS = 30


def centres(values: np.ndarray, weights: np.ndarray, clusters: int) -> np.ndarray:
    """The centres, ascending, that minimise sum weights * (values - nearest centre)^2.

    Exact for up to `BINS` distinct values (Wang and Song 2011, "Ckmeans.1d.dp"). Larger sets are
    binned to groups of equally many sorted values, then refined by Lloyd's alternation on all.

    :param values: float64, shape (n,), n >= 1.
    :param weights: float64 > 0, shape (n,).
    :param clusters: the most centres; fewer distinct values give as many centres as values.
    """
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, not {clusters}")
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weights)
    if len(distinct) <= clusters:
        return distinct
    if len(distinct) <= BINS:
        return _dynamic(distinct, mass, clusters)
    group = np.arange(len(distinct)) * BINS // len(distinct)
    total = np.bincount(group, mass)
    table = _dynamic(np.bincount(group, mass * distinct) / total, total, clusters)
    for _ in range(ROUNDS):
        nearest = np.searchsorted((table[1:] + table[:-1]) / 2, distinct)
        total = np.bincount(nearest, mass, len(table))
        filled = total > 0
        new = np.bincount(nearest, mass * distinct, len(table))[filled] / total[filled]
        if np.array_equal(new, table):
            break
        table = new
    return table


def _dynamic(values: np.ndarray, mass: np.ndarray, clusters: int) -> np.ndarray:
    """The exact solution for ascending distinct values: O(clusters * n^2), vectorised."""
    n = len(values)
    values, shift = values - values.mean(), values.mean()
    w, s, q = (np.concatenate([[0.0], np.cumsum(mass * values**p)]) for p in (0, 1, 2))
    start, end = np.arange(n)[:, None], np.arange(1, n + 1)[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = q[end] - q[start] - (s[end] - s[start]) ** 2 / (w[end] - w[start])
    spread = np.where(start < end, np.maximum(spread, 0.0), np.inf)  # cost of start..end - 1
    best, starts = spread[0], [np.zeros(n, np.int64)]
    for _ in range(1, clusters):
        total = np.concatenate([[np.inf], best[:-1]])[:, None] + spread
        starts.append(total.argmin(0))
        best = total.min(0)
    bounds = [n]
    for k in range(clusters - 1, -1, -1):
        bounds.append(int(starts[k][bounds[-1] - 1]))
    low, high = np.array(bounds[1:][::-1]), np.array(bounds[:-1][::-1])
    return (s[high] - s[low]) / (w[high] - w[low]) + shift
