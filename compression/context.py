"""What the range coder knows: the model of masks, positions, values and plain bytes.

Everything that predicts is a function of what has been coded before, in integers. Each method of
`Model` codes the thing it is given and returns it; if the stream is being read, it returns what
the stream holds instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from . import kernels
from .archive import Quantised
from .errors import CorruptFile
from .geometry import Geometry, flat_geometry, kernel_geometry
from .grids import GridCoder
from .kernels import CROWD_STATES, FAR_STATES, LEAVES, LIKE_STATES, NEAR_STATES, SIGN_STATES
from .range_coder import SQUASH, Stream

# Priors, tuned on networks pruned by sparse variational dropout: log odds in nats, stiffness in
# units of information p (1 - p). They are part of the format: a change is a new version.
DENSITY = {"weight": -2.0, "bias": 3.0, "mask": 0.0}  # log odds that an entry is nonzero
STIFFNESS = {"all": 0.8, "near": 1.2, "far": 3.5, "row": 5, "col": 7, "group": 1.5}
NEAR, FAR = 0.7, 0.1  # log odds that each nonzero neighbour adds, to begin with
WEIGHTS = (1.5, 0.8, 0.5, 0.012)  # of the columns around, the degree, the rows before; their rate
VALUE_STIFFNESS = {"all": 1, "sign": 0.35, "leaf": 1, "side": 6, "like": 4, "crowd": 6, "row": 20}
SIGN_NEAR, SIGN_FAR = 1.8, 0.3  # log odds of +, for the signs of the neighbours, to begin with
OCTET_STIFFNESS = 0.3


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
    """

    def __init__(self, stream: Stream, charge: Callable[[str], None] = lambda part: None) -> None:
        self._stream = stream
        self._charge = charge
        self._units: np.ndarray = np.zeros(0, dtype=np.int64)  # weights of each unit of the
        self._kept: np.ndarray | None = None  # layer before; the choice made after it
        self._grids = GridCoder(stream)

    def mask(self, count: int, mask: np.ndarray | None = None) -> np.ndarray:
        """A bool array, shape (count,)."""
        geometry = flat_geometry(count, len(self._units))
        flags = self._positions("mask", 1, geometry, mask)
        self._kept = flags.reshape(-1) != 0
        self._charge("masks")
        return self._kept

    def octets(self, count: int, stride: int, data: bytes | None = None) -> bytes:
        """`count` bytes: elements of `stride` bytes each."""
        theta = np.zeros(stride * 256, dtype=np.int64)
        seen = np.full(len(theta), _fixed(OCTET_STIFFNESS, 16))
        source = list(data) if data is not None else [0] * count
        out = self._stream.run(
            kernels.octets, 8 * count, source, stride, theta, seen, [0], SQUASH
        )  # fmt: skip
        self._charge("raw")
        return bytes(int(octet) for octet in out[0])

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
        """The codes of a tensor: which are nonzero, then their values."""
        geometry, degree = self._geometry(shape, role)
        columns = len(geometry.group)
        codes = codes.reshape(rows, columns) if codes is not None else None
        flags = self._positions(role, rows, geometry, codes, degree)
        self._charge("positions" if role == "weight" else "biases")
        codes = self._values(flags, bounds, geometry, codes)
        self._charge("values" if role == "weight" else "biases")
        if role == "weight":
            self._units, self._kept = (codes != 0).sum(axis=1), None
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
        mean = _log(2 * units + int(self._units.sum())) - _log(units)
        return geometry, np.array([_log(2 + int(n)) - mean for n in self._units])[geometry.group]

    def _positions(
        self,
        role: str,
        rows: int,
        geometry: Geometry,
        codes: np.ndarray | None,
        degree: np.ndarray | None = None,
    ) -> np.ndarray:
        """Where a matrix is not zero: int64, 0 or 1, shape (rows, columns)."""
        columns = len(geometry.group)
        flags = np.zeros((rows, columns + 1), dtype=np.int64)
        if codes is not None:
            flags[:, :-1] = codes.reshape(rows, columns) != 0
        if not rows * columns:
            return flags[:, :-1]
        counts = {
            "all": 1, "near": NEAR_STATES, "far": FAR_STATES, "row": rows, "col": columns + 1,
            "group": geometry.groups,
        }  # fmt: skip
        theta, seen = _statistics(counts, STIFFNESS)
        theta[0] = _fixed(DENSITY[role], 24)
        theta[1 : 1 + NEAR_STATES] = [_fixed(NEAR, 24) * (k % 5) for k in range(NEAR_STATES)]
        theta[1 + NEAR_STATES :][:FAR_STATES] = [_fixed(FAR, 24) * k for k in range(FAR_STATES)]
        weights = [_fixed(value, 24) for value in WEIGHTS]
        degree = np.zeros(columns, dtype=np.int64) if degree is None else degree
        out = self._stream.run(
            kernels.positions, rows * columns, flags.reshape(-1), rows, columns,
            geometry.groups, int(geometry.spatial), geometry.group, geometry.around.reshape(-1),
            degree, theta, seen, weights, [0] * 6, np.zeros(columns, dtype=np.int64), SQUASH,
        )  # fmt: skip
        return np.array(out[0], dtype=np.int64).reshape(rows, columns + 1)[:, :-1]

    def _values(
        self,
        flags: np.ndarray,
        bounds: tuple[int, int],
        geometry: Geometry,
        codes: np.ndarray | None,
    ) -> np.ndarray:
        """The codes of the nonzero entries: int64, shape (rows, columns), 0 elsewhere."""
        rows, columns = flags.shape
        padded = np.zeros((rows, columns + 1), dtype=np.int64)
        padded[:, :-1] = flags
        places = np.flatnonzero(padded)
        if codes is not None:
            padded[:, :-1] = codes
        negative, positive = -bounds[0], bounds[1]
        if not len(places):
            return padded[:, :-1]
        if not negative + positive:
            raise CorruptFile("a grid without values has nonzero entries")
        counts = {
            "all": 1, "sign": SIGN_STATES, "leaf": LEAVES, "side": 2 * LEAVES,
            "like": LIKE_STATES * LEAVES, "crowd": CROWD_STATES * LEAVES, "row": rows,
        }  # fmt: skip
        theta, seen = _statistics(counts, VALUE_STIFFNESS)
        theta[1 : 1 + SIGN_STATES] = [
            _fixed(SIGN_NEAR, 24) * (k // 5 - 2) + _fixed(SIGN_FAR, 24) * (k % 5 - 2)
            for k in range(SIGN_STATES)
        ]
        out = self._stream.run(
            kernels.values, 18 * len(places), padded.reshape(-1), places, columns,
            int(geometry.spatial), negative, positive, geometry.around.reshape(-1), theta, seen,
            [0] * 4, [0] * 4, SQUASH,
        )  # fmt: skip
        return np.array(out[0], dtype=np.int64).reshape(rows, columns + 1)[:, :-1]
