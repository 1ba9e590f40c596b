"""One stream of the profile `fast`: tensors of integers, one after the other.

    coder = FastStream()                      data = coder.finish()
    coder.code(codes, shape)        reader = FastStream(data); codes = reader.code(None, shape)
                                    reader.check_end()

The statistics go on from tensor to tensor; the means of rows, columns and channels begin anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from math import log2, prod

import numpy as np

from ..errors import CorruptFile
from ..numba_loops import compiled, has_numba
from . import loops
from .loops import BEYOND, DECODING, END, FULL, LOW, MEAN, POS, SLACK, WIDTH
from .tables import (
    BITS,
    FIRST_WAIT,
    LEAST,
    NEAR,
    START_MEAN,
    first_cells,
    first_counts,
    frequencies,
    logarithms,
    rates,
)  # fmt: skip

BLOCK = 1 << 16  # weights at a time, or one row
WIDEST = 1 << 16  # columns of a matrix of few rows; a wider one is coded in lines of so many
FEW_ROWS = 16
MOST_TAPS = 4096  # of a kernel; the taps of a larger one are columns like any other
ROOM = 8  # bytes that a weight may take: two decisions, a class and 19 bits
COMPILE_FROM = 1 << 14  # weights in this process from which importing numba pays


def layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Columns, taps of a kernel (1: none) and the length of its lines, of a tensor."""
    rows = shape[0] if len(shape) > 1 else 1
    columns = prod(shape[1:]) if len(shape) > 1 else prod(shape)
    taps = prod(shape[2:])
    if columns > WIDEST and rows < FEW_ROWS:
        return WIDEST, 1, 1
    if not 1 < taps <= MOST_TAPS:
        return columns, 1, 1
    return columns, taps, shape[-1]


class FastStream:
    """A stream being written, or read if `data` is given.

    :param compiled: run the loops through numba (True), as plain Python (False), or through
        numba as soon as it pays, if it is installed (None). The bytes are the same.
    """

    _past = 0  # weights of all streams

    def __init__(self, data: bytes | None = None, compiled: bool | None = None) -> None:
        self.decoding = data is not None
        self._auto = compiled is None
        self._buffer = bytearray(data or b"")
        end, head = len(self._buffer), bytes(self._buffer[:6]).ljust(6, b"\0")
        if self.decoding:
            self._buffer.extend(bytes(BEYOND))
        rc = [0] * 6
        rc[LOW] = int.from_bytes(head, "big")
        rc[WIDTH] = FULL
        rc[POS] = 6 if self.decoding else 0
        rc[END] = end
        rc[DECODING] = int(self.decoding)
        counts = first_counts()
        waits = [FIRST_WAIT] * (2 * len(counts) // loops.CLASSES)
        self._rc: list[int] | np.ndarray = rc
        self._learned: tuple = (*first_cells(), frequencies(counts), list(counts), waits)
        self._tables: tuple = (NEAR, LEAST, BITS, logarithms(), rates())
        self._compiled = False
        if compiled:
            self._use_numba()

    def _use_numba(self) -> None:
        """Go on with compiled loops, whose statistics are arrays."""
        self._compiled = True
        self._rc = np.array(self._rc, dtype=np.int64)
        self._learned, self._tables = (
            tuple(np.array(part, dtype=np.int32) for part in parts)
            for parts in (self._learned, self._tables)
        )

    def bits(self) -> float:
        """Information coded so far, in bits. For reports only: a float."""
        return 8 * (int(self._rc[POS]) - (6 if self.decoding else 0)) + 48 - log2(self._rc[WIDTH])

    def code(self, codes: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        """The integers of a tensor, int32, flat: those given, or those read if there are none.

        :param codes: magnitudes up to 65,536.
        :raises CorruptFile: the stream ends before.
        """
        size = prod(shape)
        flat = np.zeros(size, np.int32) if codes is None else codes.reshape(-1)
        if not size:
            return flat
        FastStream._past += size
        pays = self._auto and not self._compiled and FastStream._past >= COMPILE_FROM
        if pays and has_numba():
            self._use_numba()
        columns, taps, line = layout(shape)
        channels = columns // taps if taps > 1 else 0
        self._rc[MEAN] = START_MEAN
        means = (
            self._array(columns, START_MEAN), self._array(channels, START_MEAN),
            self._array(columns if taps == 1 else 0), self._array(columns),
            self._array(max(taps, 3) + columns),
        )  # fmt: skip
        rows, step = -(-size // columns), max(BLOCK // columns, 1)
        for row in range(0, rows, step):
            last = min(row + step, rows)
            self._block(flat[row * columns : last * columns], columns, taps, line, row, last, means)
        return flat

    def _block(
        self, codes: np.ndarray, columns: int, taps: int, line: int, row: int, last: int,
        means: tuple,
    ) -> None:  # fmt: skip
        """Code a few rows, in place if they are read."""
        if not self.decoding:
            codes = np.array(codes, dtype=np.int32)
            missing = int(self._rc[POS]) + ROOM * len(codes) + 16 - len(self._buffer)
            self._buffer.extend(bytes(max(missing, 0)))
        run: Callable = loops.code_rows
        buffer: np.ndarray | bytearray = self._buffer
        where: np.ndarray | memoryview = memoryview(codes)
        if self._compiled:
            run = compiled(loops.code_rows, loops.SHARED, error_model="numpy")
            where = codes
            buffer = np.frombuffer(self._buffer, dtype=np.uint8)
        run(
            self._rc, buffer, where, columns, taps, line, row, last, *self._learned, *means,
            *self._tables,
        )  # fmt: skip
        del buffer  # lets the bytearray grow again
        if self.decoding and self._rc[POS] > self._rc[END] + SLACK:
            raise CorruptFile("the coded stream ends before its symbols do")

    def _array(self, size: int, value: int = 0) -> np.ndarray | array:
        if self._compiled:
            return np.full(size, value, dtype=np.int32)
        return array("i", [value]) * size

    def finish(self) -> bytes:
        """End the stream being written; return its bytes.

        It ends with two bytes that name the first multiple of 2^32 that is not below `low`.
        """
        position = int(self._rc[POS])
        last = -(-int(self._rc[LOW]) >> 32)
        if last >> 16:
            place = position - 1
            while self._buffer[place] == 255:
                self._buffer[place] = 0
                place -= 1
            self._buffer[place] += 1
        return bytes(self._buffer[:position]) + (last & 0xFFFF).to_bytes(2, "big")

    def check_end(self) -> None:
        """Raise CorruptFile unless the stream being read ends here, as `finish` would end it."""
        if self._rc[POS] != self._rc[END] + SLACK or self._rc[LOW] >> 32:
            raise CorruptFile("the coded stream does not end where its symbols do")
