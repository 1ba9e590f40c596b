"""How the range coder writes grids: steps and codebook values as near the last ones as they are.

Grid values are bfloat16 numbers, the upper halves of positive float32 ones, whose bit patterns
rise with the values. So a side of a codebook is its smallest value, as a change from the last
grid's, and the rises from each value to the next: integers, by adaptive Exp-Golomb codes. From
version 15 on a grid says first how many bits behind the leading one its values have, at most 7, and
all these integers count units of the last of them.
"""

from __future__ import annotations

import numpy as np

from .archive import MANTISSA, MAX_LEVELS, MAX_SHIFT, Codebook, Quantised, Uniform
from .errors import CorruptFile
from .range_coder import Stream

STIFFNESS = 19661  # of every decision of a number, 16 fractional bits; see `kernels`
FIRST_PATTERN = 0x3D80  # of 1/16, near which grids tend to begin
END_PATTERN = 0x7F80  # of infinity
UNIFORM, CODEBOOK, SHIFTED = range(3)  # kinds of grids
PREFIX = 32  # statistics of lengths; then those of the highest bit of each length


class GridCoder:
    """Codes grids, each given those before, and gives them back; see `context.Model`.

    :param trims: whether a grid says how many bits its values have.
    """

    def __init__(self, stream: Stream, trims: bool = False) -> None:
        self._stream = stream
        self._trims = trims
        self._unit = 0  # of patterns: how many of their lowest bits are 0 in this grid
        self._numbers: dict[str, tuple[list[int], list[int]]] = {}
        self._pattern = FIRST_PATTERN

    def code(
        self, units: int, tensor: Quantised | None = None
    ) -> tuple[Uniform | Codebook, tuple[int, int]]:
        """The grid of a tensor of so many units, and the lowest and the highest code in use."""
        grid = tensor.grid if tensor is not None else None
        kind = self.number("kind", _kind(grid) if grid is not None else 0, SHIFTED)
        if self._trims:
            bits = grid.bits() if grid is not None else 0
            self._unit = MANTISSA - self.number("bits", bits, MANTISSA)
        if kind == CODEBOOK:
            sides = (grid.positive, -grid.negative) if grid is not None else (None, None)
            positive, negative = (self._side(side) for side in sides)
            try:
                book = Codebook(-negative, positive)
            except ValueError as error:
                raise CorruptFile(f"a codebook in the file makes no sense: {error}") from None
            return book, book.bounds()
        low = high = pattern = 0
        if tensor is not None:
            low, high = int(tensor.codes.min(initial=0)), int(tensor.codes.max(initial=0))
            pattern = int(_patterns(grid.step)[0])
        step = self._first(pattern)
        known = grid.shifts if kind == SHIFTED and grid is not None else [0] * units
        shifts = [self.number("shift", k, MAX_SHIFT) for k in known] if kind == SHIFTED else ()
        bounds = (-self.number("extent", -low), self.number("extent", high))
        try:
            return Uniform(float(_from_patterns([step])[0]), tuple(shifts)), bounds
        except ValueError as error:
            raise CorruptFile(f"a grid in the file makes no sense: {error}") from None

    def _side(self, magnitudes: np.ndarray | None) -> np.ndarray:
        """The rising magnitudes of one side of a codebook, float32."""
        patterns = _patterns(magnitudes) if magnitudes is not None else []
        count = self.number("levels", len(patterns))
        known = [int(pattern) for pattern in patterns] or [0] * count
        out: list[int] = []
        for k in range(count):
            if out:
                rise = known[k] - known[k - 1] >> self._unit
                out.append(out[-1] + (1 + self.number("rise", rise - 1) << self._unit))
            else:
                out.append(self._first(known[0]))
        if out and out[-1] >= END_PATTERN:
            raise CorruptFile("a codebook in the file has a value that is not finite")
        return _from_patterns(out)

    def _first(self, pattern: int) -> int:
        """The bfloat16 pattern of a step or of a side's smallest magnitude, near the last such."""
        before = self._pattern >> self._unit
        change = (pattern >> self._unit) - before
        folded = self.number("first", 2 * change if change >= 0 else -2 * change - 1)
        before += folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
        self._pattern = before << self._unit
        if not 0 < self._pattern < END_PATTERN:
            raise CorruptFile("a grid in the file has a value that is not finite and positive")
        return self._pattern

    def number(self, kind: str, value: int = 0, limit: int = MAX_LEVELS) -> int:
        """An integer 0..limit as Exp-Golomb; `kind` names the statistics that it shares."""
        start = ([0] * 2 * PREFIX, [STIFFNESS] * 2 * PREFIX)
        theta, seen = self._numbers.setdefault(kind, start)
        value, length, out = int(value) + 1, 0, 1
        while self._stream.decide(int(value >> (length + 1) > 0), theta, seen, length):
            length += 1
            if length > limit.bit_length():
                raise CorruptFile(f"a number ({kind}) in the coded stream is over {limit}")
        for shift in range(length - 1, -1, -1):
            statistics = (theta, seen, PREFIX + length) if shift == length - 1 else ([0], [1], 0)
            out = 2 * out + self._stream.decide((value >> shift) & 1, *statistics)
        if out - 1 > limit:
            raise CorruptFile(f"a number ({kind}) in the coded stream is over {limit}")
        return out - 1


def _kind(grid: Uniform | Codebook) -> int:
    if isinstance(grid, Codebook):
        return CODEBOOK
    return SHIFTED if grid.shifts else UNIFORM


def _patterns(magnitudes: np.ndarray | float) -> np.ndarray:
    """The upper halves of float32 values, int64, shape (n,)."""
    values = np.ascontiguousarray(magnitudes, dtype=np.float32).reshape(-1)
    return (values.view(np.uint32) >> 16).astype(np.int64)


def _from_patterns(patterns: list[int]) -> np.ndarray:
    """The float32 values of upper halves, shape (n,)."""
    return (np.array(patterns, dtype=np.uint32) << 16).view(np.float32)
