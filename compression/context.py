"""What the range coder knows: the model of masks, positions, values and plain bytes.

Everything that predicts is a function of what has been coded before, in integers. Each method of
`Model` codes the thing it is given and returns it; if the stream is being read, it returns what
the stream holds instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from math import prod

import numpy as np

from . import kernels
from .archive import Quantised
from .errors import CorruptFile
from .geometry import Geometry, flat_geometry, kernel_geometry
from .grids import GridCoder
from .kernels import (
    CROWD_STATES,
    FAR_STATES,
    LEAVES,
    LIKE_STATES,
    NEAR_STATES,
    NEIGHBOURS,
    PREDICTED_STATES,
    SIGN_STATES,
)
from .range_coder import SQUASH, Stream
from .sorted_rows_coder import SortedRowsCoder

# Priors, tuned on networks pruned by sparse variational dropout: log odds in nats, stiffness in
# units of information p (1 - p). They are part of the format: a change is a new version.
DENSITY = {"weight": -2.0, "bias": 3.0, "mask": 0.0}  # log odds that an entry is nonzero
STIFFNESS = {"all": 0.8, "near": 1.2, "far": 3.5, "row": 5, "col": 7, "group": 1.5}
NEAR, FAR = 0.7, 0.1  # log odds that each nonzero neighbour adds, to begin with
WEIGHTS = (1.5, 0.8, 0.5, 0.012)  # of the columns around, the degree, the rows before; their rate
VALUE_STIFFNESS = {"all": 1, "sign": 0.35, "leaf": 1, "side": 6, "like": 4, "crowd": 6, "row": 20}
PREDICTED_STIFFNESS = 3
SIGN_NEAR, SIGN_FAR = 1.8, 0.3  # log odds of +, for the signs of the neighbours, to begin with
OCTET_STIFFNESS = 0.3
# Of the prediction, to begin with: the weights of the neighbours (of those left, above, above left,
# above right, the 8 beyond and the one in the group before), and the sum of their squares; then the
# slope of the sign's log odds, and its information.
PREDICTION = (0.25, 0.25, -0.05, *[0.0] * 9, 0.1)
ENERGY = 20 * NEIGHBOURS
SLOPE, SLOPE_STIFFNESS = 3, 3


def _fixed(value: float, bits: int) -> int:
    """A constant of the format as an integer with so many fractional bits (nothing is computed)."""
    return round(value * (1 << bits))


@cache
def _log(value: int) -> int:
    """The natural logarithm of an integer >= 1, 24 fractional bits, by integers alone."""
    exponent = value.bit_length() - 1
    mantissa, fraction = (value << 62) >> exponent, 0
    for _ in range(24):
        mantissa = mantissa * mantissa >> 62
        carry = mantissa >> 63
        fraction = 2 * fraction + carry
        mantissa >>= carry
    return ((exponent << 24) + fraction) * 11629080 >> 24  # ln 2


def _statistics(
    counts: dict[str, int], stiffness: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """theta and seen of so many indicators of each kind, one kind after the other, all int64."""
    seen = [np.full(n, _fixed(stiffness[kind], 16), np.int64) for kind, n in counts.items()]
    return np.zeros(sum(counts.values()), dtype=np.int64), np.concatenate(seen)


class Model:
    """Codes the tensors of one archive, in order, through one stream.

    :param charge: called with the name of each part when it is done, for reports.
    :param groups: for a stream in which rows of weights may be sorted, being written: of each
        weight tensor in how many groups they are, 0 if they are not. Empty for one being read.
        None: in this stream none are.
    :param predicts: as in versions from 15 on: weights with neighbours are predicted, and grids say
        how many bits their values have.
    """

    def __init__(
        self,
        stream: Stream,
        charge: Callable[[str], None] = lambda part: None,
        groups: Iterable[int] | None = None,
        predicts: bool = False,
    ) -> None:
        self._stream = stream
        self._predicts = predicts
        self._charge = charge
        self._units: np.ndarray = np.zeros(0, dtype=np.int32)  # weights of each unit of the
        self._kept: np.ndarray | None = None  # layer before; the choice made after it
        self._grids = GridCoder(stream, predicts)
        self._sorted_rows = None if groups is None else SortedRowsCoder(stream, self._grids, groups)

    def finish(self) -> bytes:
        """End the stream being written; return its bytes."""
        return self._stream.finish() if self._sorted_rows is None else self._sorted_rows.finish()

    @property
    def groups(self) -> list[int]:
        """Of each weight tensor coded in how many groups its rows are sorted, 0 if they are not."""
        return [] if self._sorted_rows is None else self._sorted_rows.groups

    def mask(self, count: int, mask: np.ndarray | None = None) -> np.ndarray:
        """A bool array, shape (count,)."""
        geometry = flat_geometry(count, len(self._units))
        self._kept = self._positions("mask", 1, geometry, mask).view(bool)
        self._charge("masks")
        return self._kept

    def octets(self, count: int, stride: int, data: bytes | None = None) -> bytes:
        """`count` bytes: elements of `stride` bytes each."""
        theta = np.zeros(stride * 256, dtype=np.int64)
        seen = np.full(len(theta), _fixed(OCTET_STIFFNESS, 16))
        octets = np.frombuffer(bytearray(count if data is None else data), dtype=np.uint8)
        self._stream.run(kernels.octets, 8 * count, octets, stride, theta, seen, [0], SQUASH)
        self._charge("raw")
        return octets.tobytes()

    def tensor(
        self, shape: tuple[int, ...], role: str, tensor: Quantised | None = None
    ) -> Quantised:
        """A tensor of role weight or bias: its grid, which entries are nonzero, their values."""
        rows = shape[0] if len(shape) > 1 else 1
        grid, bounds = self._grids.code(rows, tensor)
        self._charge("codebooks")
        codes = tensor.codes if tensor is not None else None
        codes = self._codes(shape, rows, role, bounds, codes)
        try:
            return Quantised(codes.reshape(shape), grid)
        except ValueError as error:
            raise CorruptFile(f"a tensor in the file makes no sense: {error}") from None

    def _codes(
        self,
        shape: tuple[int, ...],
        rows: int,
        role: str,
        bounds: tuple[int, int],
        codes: np.ndarray | None,
    ) -> np.ndarray:
        """The codes of a tensor: int32, flat."""
        if prod(shape):
            geometry, degree = self._geometry(shape, role)
        else:  # the other axes may be large: nothing is taken for them
            geometry, degree = Geometry.of(0, 0, 0), None

        def run(codes: np.ndarray | None) -> np.ndarray:
            flags = self._positions(role, rows, geometry, codes, degree)
            self._charge("positions" if role == "weight" else "biases")
            known = flags if codes is None else codes.reshape(-1)
            codes = self._values(known.astype(np.int32), rows, bounds, geometry)
            self._charge("values" if role == "weight" else "biases")
            return codes

        if role != "weight":
            return run(codes)
        if self._sorted_rows is None:
            codes = run(codes)
        else:
            codes = self._sorted_rows.code(run, rows, geometry.columns, codes)
            self._charge("positions")
        table = codes.reshape(rows, geometry.columns)
        self._units = np.count_nonzero(table, axis=1).astype(np.int32)
        self._kept = None
        return codes

    def _geometry(self, shape: tuple[int, ...], role: str) -> tuple[Geometry, np.ndarray | None]:
        """Of a tensor's columns; and the log odds that the units before lend each of them."""
        columns = shape[1] if len(shape) > 1 else sum(shape) if shape else 1
        if len(shape) > 2:
            geometry = kernel_geometry(shape[1], shape[2:])
        elif role == "weight" and self._kept is not None and self._kept.sum() == columns:
            geometry = flat_geometry(len(self._kept), len(self._units), self._kept)
        else:
            geometry = flat_geometry(columns, len(self._units) if role == "weight" else columns)
        units = len(self._units)
        if role != "weight" or not units or geometry.groups != units:
            return geometry, None
        mean = _log(2 * units + int(self._units.sum(dtype=np.int64))) - _log(units)
        table = np.zeros(int(self._units.max()) + 1, dtype=np.int32)
        for count in np.flatnonzero(np.bincount(self._units)):
            table[count] = _log(2 + int(count)) - mean
        degrees = table[self._units]
        plain = geometry.taps == 1 and geometry.kept is None
        return geometry, degrees if plain else degrees[geometry.group]

    def _positions(
        self,
        role: str,
        rows: int,
        geometry: Geometry,
        codes: np.ndarray | None,
        degree: np.ndarray | None = None,
    ) -> np.ndarray:
        """Where a matrix is not zero: int8, 0 or 1, flat."""
        columns = geometry.columns
        flags = np.zeros(rows * columns, dtype=np.int8)
        if codes is not None:
            flags[:] = codes.reshape(-1) != 0
        if not rows * columns:
            return flags
        one_line = rows == 1 and not geometry.spatial
        counts = {
            "all": 1, "near": NEAR_STATES, "far": FAR_STATES, "row": 1,
            "col": 1 if one_line else columns + 1, "group": geometry.groups,
        }  # fmt: skip
        if not (geometry.spatial and geometry.groups > 1):
            counts["group"] = 0
        theta, seen = _statistics(counts, STIFFNESS)
        theta[0] = _fixed(DENSITY[role], 24)
        theta[1 : 1 + NEAR_STATES] = [_fixed(NEAR, 24) * (k % 5) for k in range(NEAR_STATES)]
        theta[1 + NEAR_STATES :][:FAR_STATES] = [_fixed(FAR, 24) * k for k in range(FAR_STATES)]
        weights = [_fixed(value, 24) for value in WEIGHTS]
        smooth = np.zeros(columns if geometry.spatial else 0, dtype=np.int64)
        group = geometry.group if counts["group"] else np.zeros(0, dtype=np.int32)
        self._stream.run(
            kernels.positions, rows * columns, flags, _line(geometry), rows, columns,
            geometry.groups, int(geometry.spatial), int(degree is not None), group,
            geometry.around.reshape(-1), np.zeros(0, np.int32) if degree is None else degree,
            theta, seen, weights, [0] * 6, smooth, SQUASH,
        )  # fmt: skip
        return flags

    def _values(
        self, codes: np.ndarray, rows: int, bounds: tuple[int, int], geometry: Geometry
    ) -> np.ndarray:
        """Fill in the nonzero entries of a matrix: int32, flat; each is 1 if not known."""
        negative, positive = -bounds[0], bounds[1]
        count = int(np.count_nonzero(codes))
        if not count:
            return codes
        if not negative + positive:
            raise CorruptFile("a grid without values has nonzero entries")
        counts = {
            "all": 1, "sign": SIGN_STATES, "leaf": LEAVES, "side": 2 * LEAVES,
            "like": LIKE_STATES * LEAVES, "crowd": CROWD_STATES * LEAVES, "row": 1,
        }  # fmt: skip
        predicts = self._predicts and geometry.spatial
        counts["predicted"] = PREDICTED_STATES * LEAVES * predicts
        theta, seen = _statistics(counts, VALUE_STIFFNESS | {"predicted": PREDICTED_STIFFNESS})
        theta[1 : 1 + SIGN_STATES] = [
            _fixed(SIGN_NEAR, 24) * (k // 5 - 2) + _fixed(SIGN_FAR, 24) * (k % 5 - 2)
            for k in range(SIGN_STATES)
        ]
        self._stream.run(
            kernels.values, 18 * count, codes, _line(geometry), rows, geometry.columns,
            int(geometry.spatial), int(predicts), negative, positive, geometry.around.reshape(-1),
            theta, seen, [0] * 5, [0] * 5, _prediction(max(negative, positive)), [0] * NEIGHBOURS,
            SQUASH,
        )  # fmt: skip
        return codes


def _prediction(levels: int) -> list[int]:
    """What `kernels.values` predicts with, to begin with; the mean magnitude is levels / 4."""
    weights = [_fixed(weight, 24) for weight in PREDICTION]
    slope = [_fixed(SLOPE, 24), _fixed(SLOPE_STIFFNESS, 16)]
    return [*weights, _fixed(ENERGY, 16), levels << 14, 0, *slope]


def _line(geometry: Geometry) -> np.ndarray:
    """Room for one row, where its neighbours are looked at; see kernels.py."""
    return np.zeros(geometry.columns + 1 if geometry.spatial else 0, dtype=np.int32)
