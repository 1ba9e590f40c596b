"""How the weights of a tensor lie: which columns of its matrix are neighbours.

A tensor is a matrix: its first axis the rows (output units), all others the columns. Columns form
groups (input channels) of taps (kernel positions, or pixels), and the taps lie on a rectangle, so
that kernels, images and flattened feature maps are one case.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from .kernels import AROUND

MAX_COLUMNS = 1 << 18  # of a matrix whose columns' neighbours are looked at

_NEAR = [(0, -1), (-1, 0), (-1, -1), (-1, 1)]  # (dy, dx) of those known in the same row
_AHEAD = [(0, 1), (1, 0), (1, 1), (1, -1)]
_FAR = [(0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-2, -2), (-2, 2)]
_STEPS = _NEAR + _AHEAD + _FAR


@dataclass(frozen=True)
class Geometry:
    """How columns lie in groups and on the rectangle of taps.

    :param groups: the number of groups; column c of them all is tap c % taps of group c // taps.
    :param columns: how many of them are there.
    :param kept: their numbers among all, int32, shape (columns,); None if they are all there.
    :param spatial: whether there are neighbours to look at; if not, `around` is empty.
    :param around: the columns (dy, dx) = `_STEPS` from each, then the same tap of the group before,
        int32, shape (columns, AROUND); `columns` stands for none.
    """

    groups: int
    taps: int
    columns: int
    kept: np.ndarray | None
    spatial: bool
    around: np.ndarray

    @property
    def group(self) -> np.ndarray:
        """Of each column that is there, int32, shape (columns,)."""
        return self._places() // np.int32(max(self.taps, 1))

    def _places(self) -> np.ndarray:
        return np.arange(self.columns, dtype=np.int32) if self.kept is None else self.kept

    @staticmethod
    def of(groups: int, taps: int, width: int, kept: np.ndarray | None = None) -> Geometry:
        """groups x taps columns, the taps in lines of `width`, less those that are not `kept`."""
        full = groups * taps
        places = None if kept is None else np.flatnonzero(kept).astype(np.int32)
        columns = full if places is None else len(places)
        if taps < 2 or columns > MAX_COLUMNS:
            return Geometry(groups, taps, columns, places, False, np.empty((0, AROUND), np.int32))
        around = _around(np.arange(full) if places is None else places, full, taps, width)
        return Geometry(groups, taps, columns, places, True, around)


def _around(kept: np.ndarray, full: int, taps: int, width: int) -> np.ndarray:
    """The neighbours of those columns that are `kept` of `full` ones; see `Geometry`."""
    place = np.full(full + 1, len(kept), dtype=np.int32)
    place[kept] = np.arange(len(kept))
    y, x = np.divmod(kept % taps, width)
    around = np.empty((len(kept), AROUND), dtype=np.int32)
    for k, (dy, dx) in enumerate(_STEPS):
        inside = (y + dy >= 0) & ((y + dy) * width < taps) & (x + dx >= 0) & (x + dx < width)
        around[:, k] = place[np.where(inside, kept + dy * width + dx, full)]
    around[:, -1] = place[np.where(kept >= taps, kept - taps, full)]
    return around


def kernel_geometry(channels: int, kernel: tuple[int, ...]) -> Geometry:
    """The inputs of a convolution: one group for each input channel."""
    return Geometry.of(channels, prod(kernel), kernel[-1])


def flat_geometry(columns: int, units: int, kept: np.ndarray | None = None) -> Geometry:
    """The inputs of a dense layer: units, flattened feature maps, or an image.

    :param columns: how many there are before the choice of the `kept` ones (bool array or None).
    :param units: how many units the weight tensor before has, 0 if there is none.
    """
    channels = 1
    if units and columns % units == 0:
        channels = units
    elif columns and columns % 3 == 0 and isqrt(columns // 3) ** 2 == columns // 3:
        channels = 3
    taps = columns // channels
    width = isqrt(taps) if isqrt(taps) ** 2 == taps else taps
    return Geometry.of(channels, taps, width, kept)
