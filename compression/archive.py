"""The seam between the codec and everything else: a network as integers on grids.

An `Archive` is what a compressed file says, no more and no less: `file.encode` writes it and
`file.decode` gives back an equal one. Numpy only, so that reading a file needs no torch until a
network is built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .architecture import Architecture

MAX_LEVELS = 1 << 16  # values on either side of zero that a grid may have
STRIP = 1 << 20  # codes made into values at a time
MANTISSA = 7  # bits of a grid's values behind the leading one
MAX_SHIFT = 12  # of a unit's step; 2^12 steps of the finest unit are enough for any other


def storable(values: np.ndarray | float, bits: int = MANTISSA) -> np.ndarray:
    """Round to the nearest value that a grid may hold: a bfloat16, here in float32, any shape.

    :param bits: behind the leading one, 0..7. A grid whose values have few of them takes fewer
        bytes in a file.

    A file stores grid values in the upper 16 bits of a float32, so that at most 8 significant bits
    remain (a relative error of at most 2^-(bits + 1)) and the decoded weights are bit-identical
    everywhere. Values too large for a bfloat16 become infinite and too small ones 0 or subnormal;
    grids refuse those.
    """
    dropped = 23 - bits
    found = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    half = (1 << dropped - 1) - 1 + ((found >> dropped) & 1)  # to nearest, ties to even
    rounded = found + half >> dropped << dropped
    return rounded.astype(np.uint32).view(np.float32).reshape(np.shape(values))


def mantissa_bits(values: np.ndarray | float) -> int:
    """How many bits behind the leading one bfloat16 numbers have at most, 0..7; any shape."""
    patterns = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).reshape(-1) >> 16
    used = int(np.bitwise_or.reduce(patterns, initial=1 << MANTISSA))
    return MANTISSA + 1 - (used & -used).bit_length()


def _positive_storable(values: np.ndarray, what: str) -> None:
    """Raise ValueError unless all `values` are positive, normal, finite bfloat16 numbers."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    if np.any(bits & 0xFFFF):
        raise ValueError(f"{what} must be bfloat16 numbers; round them with storable()")
    if np.any(bits < 0x0080_0000) or np.any(bits >= 0x7F80_0000):
        raise ValueError(f"{what} must be positive, normal and finite")


@dataclass(frozen=True)
class Uniform:
    """The grid of multiples of a step: code k is the value float32(step) * k, rounded once.

    :param step: the spacing, in units of the weight; a bfloat16 number > 0 (see `storable`).
    :param shifts: for each output unit how often its own step is twice `step`,
        0..`MAX_SHIFT`, the least of them 0: code k of unit u is step * 2^shifts[u] * k. Empty:
        `step` for all.
    """

    step: float
    shifts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        step = np.float32(self.step)
        _positive_storable(step, "the step of a uniform grid")
        object.__setattr__(self, "step", float(step))
        shifts = tuple(int(shift) for shift in self.shifts)
        if shifts and not (min(shifts) == 0 and max(shifts) <= MAX_SHIFT):
            raise ValueError(f"the shifts of a grid must begin at 0 and be at most {MAX_SHIFT}")
        object.__setattr__(self, "shifts", shifts)

    def values(self, codes: np.ndarray) -> np.ndarray:
        """The float32 value of each code, same shape; rows are units where there are shifts."""
        return np.float32(self.step) * self.multiples(codes).astype(np.float32)

    def rows(self, rows: slice) -> Uniform:
        """The grid of some of the units. Their shifts may all be above 0."""
        if not self.shifts:
            return self
        part = copy(self)
        object.__setattr__(part, "shifts", self.shifts[rows])
        return part

    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest code allowed: float32 holds the product of each exactly."""
        return -MAX_LEVELS, MAX_LEVELS

    def bits(self) -> int:
        """How many bits behind the leading one the step has, 0..7."""
        return mantissa_bits(self.step)

    def multiples(self, codes: np.ndarray) -> np.ndarray:
        """Codes as multiples of `step` itself, int64, same shape."""
        if not self.shifts:
            return codes.astype(np.int64)
        return codes.astype(np.int64) << np.reshape(self.shifts, (-1, *[1] * (codes.ndim - 1)))


@dataclass(frozen=True, eq=False)
class Codebook:
    """A grid of shared values. Code -k is `negative[k - 1]`, 0 is 0.0, k is `positive[k - 1]`.

    :param negative: float32, shape (n,): negative bfloat16 numbers, strictly by rising |value|.
    :param positive: float32, shape (p,): positive bfloat16 numbers, strictly rising.
    """

    negative: np.ndarray
    positive: np.ndarray

    def __post_init__(self) -> None:
        for name, sign in (("negative", -1), ("positive", 1)):
            side = np.array(getattr(self, name), dtype=np.float32)
            if side.ndim != 1 or side.size > MAX_LEVELS:
                raise ValueError(f"{name} must be one row of at most {MAX_LEVELS} values")
            magnitude = side if sign > 0 else -side  # no product: a signalling NaN would warn
            _positive_storable(magnitude, f"the magnitudes of the {name} codebook values")
            if np.any(magnitude[1:] <= magnitude[:-1]):
                raise ValueError(f"the {name} codebook values must rise strictly in magnitude")
            side.setflags(write=False)
            object.__setattr__(self, name, side)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Codebook):
            return NotImplemented
        return np.array_equal(self.negative, other.negative) and np.array_equal(
            self.positive, other.positive
        )

    def values(self, codes: np.ndarray) -> np.ndarray:
        """The float32 value of each code, same shape."""
        table = np.concatenate([self.negative[::-1], np.zeros(1, np.float32), self.positive])
        return table[codes + len(self.negative)]

    def rows(self, rows: slice) -> Codebook:
        """The grid of some of the units: the same."""
        return self

    def bits(self) -> int:
        """How many bits behind the leading one its values have, 0..7."""
        return max(mantissa_bits(self.positive), mantissa_bits(self.negative))

    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        return -len(self.negative), len(self.positive)


@dataclass(frozen=True, eq=False)
class Quantised:
    """A tensor as integers: each value is the grid's at that code.

    :param codes: int32, the tensor's shape; 0 is always the value 0.0.
    :param owned: `codes` are int32 already, and nobody else keeps them: they are not copied.
    """

    codes: np.ndarray
    grid: Uniform | Codebook
    owned: InitVar[bool] = False

    def __post_init__(self, owned: bool) -> None:
        codes = np.asarray(self.codes)
        if codes.dtype.kind not in "iu":
            raise ValueError(f"codes must be integers, not {codes.dtype}")
        low, high = self.grid.bounds()
        shifts = self.grid.shifts if isinstance(self.grid, Uniform) else ()
        if shifts and (codes.ndim < 2 or len(codes) != len(shifts)):
            raise ValueError(f"a grid of {len(shifts)} units for a tensor of shape {codes.shape}")
        if codes.size:
            rows = codes.reshape(len(shifts) or 1, -1)
            ends = np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1).astype(np.int64)
            ends = self.grid.multiples(ends) if shifts else ends
            if not (low <= ends.min() and ends.max() <= high):
                raise ValueError(
                    f"codes must lie in [{low}, {high}] for this grid; "
                    f"they span [{ends.min()}, {ends.max()}]"
                )
        object.__setattr__(self, "codes", codes.astype(np.int32, copy=not owned))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantised):
            return NotImplemented
        return self.grid == other.grid and np.array_equal(self.codes, other.codes)

    def values(self) -> np.ndarray:
        """The float32 tensor, bit-identical on every platform."""
        out = np.empty(self.codes.shape, dtype=np.float32)
        self.write_to(out)
        return out

    def write_to(self, out: np.ndarray) -> None:
        """Write the values into an array of the same shape, strip by strip, to save memory."""
        if self.codes.size <= STRIP or not self.codes.ndim:
            out[...] = self.grid.values(self.codes)
            return
        step = max(STRIP * len(self.codes) // self.codes.size, 1)
        for first in range(0, len(self.codes), step):
            rows = slice(first, first + step)
            out[rows] = self.grid.rows(rows).values(self.codes[rows])


@dataclass(frozen=True)
class Archive:
    """A described network and its tensors, by `TensorSpec.name`.

    :param tensors: `Quantised` for the roles weight and bias; plain arrays, stored bit-exactly,
        for raw and mask (boolean).
    :param sorted: weights whose rows are sorted, and in how many groups of rows that follow each
        other (a power of 2; see `sorted_rows`): the file is shorter by what their order says.
    :raises ValueError: a tensor is missing, unknown, or not as its spec says.
    """

    architecture: Architecture
    tensors: Mapping[str, Quantised | np.ndarray]
    sorted: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        specs = {spec.name: spec for spec in self.architecture.tensors()}
        for name in specs.keys() ^ self.tensors.keys():
            state = "missing from" if name in specs else "not in the architecture of"
            raise ValueError(f"tensor {name!r} is {state} the archive")
        for name, spec in specs.items():
            tensor = self.tensors[name]
            quantised = spec.role in ("weight", "bias")
            if isinstance(tensor, Quantised) != quantised:
                kind = "Quantised" if quantised else "a plain array"
                raise ValueError(f"tensor {name!r} has role {spec.role} and must be {kind}")
            array = tensor.codes if quantised else tensor
            if array.shape != tuple(spec.shape):
                raise ValueError(f"tensor {name!r} must have shape {spec.shape}, not {array.shape}")
            if not quantised and str(array.dtype) != spec.dtype:
                raise ValueError(f"tensor {name!r} must be {spec.dtype}, not {array.dtype}")
