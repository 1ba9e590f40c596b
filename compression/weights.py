"""A weight tensor as the quantisers see it: means, standard deviations and what survives."""

import math
from dataclasses import dataclass, field

import numpy as np

from .kmeans import centres


@dataclass(frozen=True)
class Weights:
    """A weight tensor to quantise; numpy, any shape, all of the same shape.

    :param values: float64, the posterior means.
    :param stddev: float64 > 0, the posterior standard deviations (see `usable_stddev`).
    :param kept: bool, which weights survive.
    :param symbols: int64, the entry of `table` that the posterior's own grid gives each weight;
        None where it has none.
    :param table: float64, shape (K,), of which entry 0 is 0.
    :param step: where the table is one of multiples of a step: that step.
    """

    values: np.ndarray
    stddev: np.ndarray
    kept: np.ndarray
    symbols: np.ndarray | None = None
    table: np.ndarray | None = None
    step: float | None = None
    _centres: dict[int, np.ndarray] = field(default_factory=dict, compare=False)

    def centres(self, clusters: int) -> np.ndarray:
        """The optimal centres of the kept values, weighted by 1 / stddev^2; computed once."""
        if clusters not in self._centres:
            alive = self.kept & (self.values != 0)
            precision = self.stddev[alive] ** -2.0
            self._centres[clusters] = centres(self.values[alive], precision, clusters)
        return self._centres[clusters]

    def selected(self, places: tuple[np.ndarray | None, ...]) -> "Weights":
        """The given positions of each axis; None for all."""
        fields = {
            field: taken(getattr(self, field), places)
            for field in ("values", "stddev", "kept", "symbols")
            if getattr(self, field) is not None
        }
        return Weights(**fields, table=self.table, step=self.step)


def taken(values: np.ndarray, places: tuple[np.ndarray | None, ...]) -> np.ndarray:
    """The given positions of each axis of an array; None for all."""
    for axis, chosen in enumerate(places):
        if chosen is not None:
            values = values.take(chosen, axis)
    return values


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
