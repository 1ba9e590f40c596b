"""A binary range coder as a stream, and the choice between plain Python and numba for its loops.

The interval has 40 bits; carries run back into the bytes already written. The stream ends with
the one byte that names the multiple of 2^32 first met in the final interval, so that its length
and that byte are a function of the symbols alone: a decoder that has not just used the last byte,
or finds another multiple there, reads a corrupt stream.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from math import log2

import numpy as np

from . import kernels
from .errors import CorruptFile
from .kernels import (
    CODE,
    DECODING,
    END,
    LEFT,
    LOW,
    POS,
    RANGE,
    SHORT,
    SLACK,
    SQUASH_HALF,
    STATUS,
    TOP,
)  # fmt: skip
from .limits import decision_budget
from .numba_loops import compiled, has_numba

MIN_PROBABILITY = 16  # of 2^16: no decision costs less than 3.5e-4 bits
COMPILE_FROM = 1 << 18  # decisions in this process from which importing numba pays
COMPILED_FROM = 1 << 7  # decisions in a loop from which its arrays pay, once numba is there
LISTED = 1 << 16  # integers up to which a list is worth its memory, being faster
GRID_DECISION = 16  # one outside the loops takes the time of so many within
_UNLIMITED = 1 << 62


def _squash_table() -> tuple[int, ...]:
    """P(1) = 1 / (1 + exp(-z)) in 1/2^16, z = -12..12 in steps of 1/256, by integers alone."""
    unit = 1 << 96
    ratio, term = 0, unit
    for k in range(1, 24):  # exp(-1/256) by its series
        ratio += term if k % 2 else -term
        term //= 256 * k
    power, upper = unit, []
    for _ in range(SQUASH_HALF + 1):
        upper.append((unit << 16) // (unit + power))
        power = power * ratio >> 96
    high = [min(max(p, MIN_PROBABILITY), 65536 - MIN_PROBABILITY) for p in upper]
    return tuple([65536 - p for p in reversed(high[1:])] + high)


SQUASH = _squash_table()
_SQUASH_ARRAY = np.array(SQUASH, dtype=np.int64)  # for compiled loops, converted once


class Stream:
    """One arithmetic-coded stream, being written, or read if `data` is given.

    :param compiled: run the loops through numba (True), as plain Python (False), or through
        numba if it is installed and all loops so far are long enough (None). The bytes are the
        same.
    """

    _past = 0  # decisions in the loops of all streams

    def __init__(self, data: bytes | None = None, compiled: bool | None = None) -> None:
        self.decoding = data is not None
        self._compiled = compiled
        self._moved = 0  # bytes by which places in the buffer are behind those in the stream
        self._padded = 0  # where bytes end behind which nothing may be in the file but zeros
        self._begin(bytearray(data or b""))
        if self.decoding:
            self._state[LEFT] = decision_budget(len(self._buffer))
            self._read_from(0)

    def _begin(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._state = [0] * 8
        self._state[RANGE] = 1 << TOP
        self._state[DECODING] = int(self.decoding)
        self._state[END] = len(buffer)
        self._state[LEFT] = _UNLIMITED

    def _read_from(self, place: int) -> None:
        """Begin to read the bytes of the buffer from a place on."""
        head = bytes(self._buffer[place : place + 5]).ljust(5, b"\0")
        self._state[CODE] = int.from_bytes(head, "big")
        self._state[POS] = place + 5
        self._state[RANGE] = 1 << TOP

    def bits(self) -> float:
        """Information coded so far, in bits. For reports only: a float."""
        shifts = self._state[POS] + self._moved - (5 if self.decoding else 0)
        return 8 * shifts + TOP - log2(self._state[RANGE])

    def run(self, kernel: Callable, decisions: int, *arguments: np.ndarray | list | int) -> None:
        """Run a loop of kernels.py on sequences of integers. The first one changes in place.

        :param decisions: at least as many as the loop will code when encoding.
        :raises CorruptFile: the stream ends before its symbols do, or takes too long for its size.
        """
        self._reserve(decisions)
        run = self._run_compiled if self._use_numba(decisions) else self._run_plain
        run(kernel, arguments)
        self._check()

    def decide(self, symbol: int, theta: list[int], seen: list[int], *places: int) -> int:
        """Code one decision with the statistics at `places`; see `kernels.learned_bit`."""
        state = self._state
        if not self.decoding:
            self._reserve(1)
        state[LEFT] -= GRID_DECISION - 1
        outcome = kernels.learned_bit(
            state, self._buffer, symbol, theta, seen, places, len(places), 0, SQUASH
        )
        if state[STATUS]:
            self._check()
        return outcome & 1

    def _check(self) -> None:
        if self._state[STATUS] == SHORT:
            raise CorruptFile("the coded stream ends before its symbols do")
        if self._state[STATUS]:
            raise CorruptFile("the coded stream holds more decisions than its bytes may take time")

    def _reserve(self, decisions: int) -> None:
        """Make room for that many decisions, which cost 2 bytes each at most."""
        if not self.decoding:
            missing = self._state[POS] + 2 * decisions + 16 - len(self._buffer)
            self._buffer.extend(bytes(max(missing, 0)))

    def _use_numba(self, decisions: int) -> bool:
        if self._compiled is None:
            Stream._past += decisions
            pays = Stream._past >= COMPILE_FROM and decisions >= COMPILED_FROM
            return pays and has_numba()
        return self._compiled

    def _run_plain(self, kernel: Callable, arguments: tuple) -> None:
        ready = [_as_plain(a) if isinstance(a, np.ndarray) else a for a in arguments]
        kernel(self._state, self._buffer, *ready)

    def _run_compiled(self, kernel: Callable, arguments: tuple) -> None:
        ready = [
            a if isinstance(a, int) else _SQUASH_ARRAY if a is SQUASH else np.asarray(a)
            for a in arguments
        ]
        state = np.array(self._state, dtype=np.int64)
        buffer = np.frombuffer(self._buffer, dtype=np.uint8)
        try:
            compiled(kernel, kernels.SHARED)(state, buffer, *ready)
        finally:
            self._state = [int(value) for value in state]
            del buffer  # lets the bytearray grow again

    def finish(self) -> bytes:
        """End the stream being written; return its bytes.

        :raises ValueError: there are more decisions in them than a reader would take time for.
        """
        if self.decisions() > decision_budget(self._state[POS] + 1):
            raise ValueError("the network is too empty for its size: remove its dead units first")
        return self.cut(last=True)

    def cut(self, last: bool = False) -> bytes:
        """End a part of the stream being written; return its bytes.

        :param last: whether nothing follows but zeros; else any bytes may.
        """
        return self._ended(1 if last else self._tail())

    def decisions(self) -> int:
        """How many decisions have been written since the stream or its part began."""
        return _UNLIMITED - self._state[LEFT]

    def park(self) -> Stream:
        """The stream as it is, to be resumed; this one goes on as a new one, to be written."""
        parked = copy(self)
        self._begin(bytearray())
        return parked

    def resume(self, parked: Stream) -> None:
        """Go on where another stream was parked."""
        self._buffer, self._state = parked._buffer, parked._state

    def replace_next(self, count: int, make: Callable[[bytes], bytes]) -> None:
        """End the part being read, which `cut` has ended; read what its next bytes stand for.

        :param count: how many bytes are replaced.
        :param make: from these bytes those to be read instead, and then whatever follows.
        :raises CorruptFile: the stream ends before.
        """
        begin = self._state[POS] - 5 + self._tail()
        end = begin + count
        if end > self._state[END]:
            raise CorruptFile("the coded stream ends before its symbols do")
        zeros = self._padded == self._state[END]  # of an order read before, beyond its payload
        new = make(bytes(self._buffer[begin:end]))
        start = end - len(new)
        if start < 0:  # there is no room in what has been read already
            self._moved += start
            self._buffer[:0] = bytes(-start)
            self._state[END] -= start
            start, end = 0, end - start
        self._buffer[start:end] = new
        self._padded = self._state[END] if zeros else end
        self._read_from(start)

    def _tail(self) -> int:
        """Bytes that end a part so that what follows does not matter: 1, or 2 near a byte's end."""
        return 1 if self._state[RANGE] >= 1 << (TOP - 7) else 2

    def _ended(self, tail: int) -> bytes:
        """The bytes written, and `tail` more that name a number within the interval."""
        state = self._state
        last = -(-state[LOW] // (1 << (TOP - 8 * tail)))  # the first such number not below low
        place = state[POS] - 1
        if last >> 8 * tail:
            while self._buffer[place] == 255:
                self._buffer[place] = 0
                place -= 1
            self._buffer[place] += 1
        return bytes(self._buffer[: state[POS]]) + (last & (1 << 8 * tail) - 1).to_bytes(
            tail, "big"
        )

    def check_end(self) -> None:
        """Raise CorruptFile unless the stream being read ends here, as `finish` would end it."""
        end = self._state[POS] - SLACK
        padding = self._buffer[end:] if self._padded == self._state[END] else b""
        if end + len(padding) != self._state[END] or any(padding) or self._state[CODE] >> 32:
            raise CorruptFile("the coded stream does not end where its symbols do")


def _as_plain(values: np.ndarray) -> list[int] | memoryview:
    """What plain Python reads fast: small statistics as a list, all else in place."""
    listed = values.dtype == np.int64 and len(values) <= LISTED
    return values.tolist() if listed else memoryview(values)
