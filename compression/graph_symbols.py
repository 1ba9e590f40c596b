"""Adaptive coding of choices, numbers and texts: what the graph section is made of.

Every method codes the value that it is given and returns it; while reading it ignores that value
and returns the one in the stream. A decision's log odds are the sum of one statistic for each of
its contexts, from the plainest to the most special, and all of them learn from it
(`kernels.learned_bit`): integers only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from ..graph.operators import MAX_INT
from .errors import CorruptFile
from .range_coder import Stream

STIFFNESS = 1 << 15  # of a new statistic, 16 fractional bits
REMEMBERED = 3 << 15  # the most information that a statistic brings from the primer
NODES = 1 << 12  # statistics of one context, at most
# Bounds of the decisions in a section: some for nothing, some for each byte, and a last one.
FREE_DECISIONS, DECISIONS_PER_BYTE, MOST_DECISIONS = 1 << 16, 1 << 10, 1 << 20
MAX_DECIMALS = 24
_INT, _WHOLE, _DECIMAL, _SPECIAL, _BITS, _FLAG = range(6)
_SPECIALS = (math.inf, -math.inf, math.nan)

Contexts = Sequence[Hashable]


class State(NamedTuple):
    """What `Symbols` have learned.

    :param contexts: pairs (level, context), in the order in which they were met.
    :param places: for each statistic `NODES` x the place of its context + its node.
    :param theta: log odds of the statistics, 24 fractional bits.
    :param seen: their information, 16 fractional bits.
    :param words: all words so far.
    """

    contexts: tuple[Hashable, ...]
    places: list[int]
    theta: list[int]
    seen: list[int]
    words: list[str]


class Symbols:
    """Codes symbols through one stream.

    :param stream: written or read.
    :param after: the statistics to begin with; None: there are none.
    :param size: bytes of the stream being read.
    """

    def __init__(self, stream: Stream, after: State | None = None, size: int = 0) -> None:
        after = after or State((), [], [], [], [])
        self._stream = stream
        self.decoding = stream.decoding
        self._contexts = {key: n * NODES for n, key in enumerate(after.contexts)}
        self._places = {place: n for n, place in enumerate(after.places)}
        self._theta, self._seen = list(after.theta), list(after.seen)
        self.words = list(after.words)
        self._count, self._most = 0, _budget(size) if stream.decoding else 1 << 62

    def state(self) -> State:
        """What has been learned so far. Information is lowered to what may come from a primer."""
        seen = [min(n, REMEMBERED) for n in self._seen]
        return State(tuple(self._contexts), list(self._places), self._theta, seen, self.words)

    def _open(self, contexts: Contexts) -> list[int]:
        """The numbers of contexts, from which those of their statistics follow."""
        numbers, known = [], self._contexts
        for level, context in enumerate(contexts):
            key = (level, context)
            number = known.get(key)
            if number is None:
                number = known[key] = len(known) * NODES
            numbers.append(number)
        return numbers

    def _bit(self, value: int, contexts: list[int], node: int) -> int:
        """One decision, 0 or 1; `node` tells those apart that share their contexts."""
        self._count += 1
        if self._count > self._most:
            raise CorruptFile("the graph in the file takes more decisions than its bytes can hold")
        active, places = [], self._places
        for context in contexts:
            place = places.get(context + node)
            if place is None:
                place = places[context + node] = len(self._theta)
                self._theta.append(0)
                self._seen.append(STIFFNESS)
            active.append(place)
        return self._stream.decide(value, self._theta, self._seen, *active)

    def check_size(self, size: int) -> None:
        """Raise ValueError if a reader would not take the time for what was written."""
        if self._count > _budget(size):
            raise ValueError("the graph is too large for a file")

    def _check(self, value: int, most: int) -> None:
        """Raise ValueError rather than write what a reader would take for something else."""
        if not self.decoding and not 0 <= value <= most:
            raise ValueError(f"{value} is not within 0..{most}, as a file needs it")

    def _refuse(self, message: str) -> None:
        raise (CorruptFile if self.decoding else ValueError)(message)

    def flag(self, value: bool, contexts: Contexts) -> bool:
        return bool(self._bit(int(value), self._open(contexts), 1))

    def choice(self, value: int, count: int, contexts: Contexts) -> int:
        """One of `count` choices, 0..count - 1."""
        self._check(value, count - 1)
        node, opened = 1, self._open(contexts)
        for shift in range((count - 1).bit_length() - 1, -1, -1):
            node = 2 * node + self._bit((value >> shift) & 1, opened, node)
        found = node - (1 << (count - 1).bit_length())
        if found >= count:
            raise CorruptFile("a choice in the graph section makes no sense")
        return found

    def number(self, value: int, limit: int, contexts: Contexts) -> int:
        """An integer 0..limit, as the number of its bits and its bits; small ones are learned."""
        self._check(value, limit)
        value, length, most = value + 1, 0, (limit + 1).bit_length() - 1
        opened, plain = self._open(contexts), self._open(["number"])
        while length < most and self._bit(int(value >> (length + 1) > 0), opened, length):
            length += 1
        found = 1
        for shift in range(length - 1, -1, -1):
            active = opened if found < 32 else plain
            node = 64 * (length + 1) + found % 64
            found = 2 * found + self._bit((value >> shift) & 1, active, node)
        if found - 1 > limit:
            raise CorruptFile(f"a number in the graph section is over {limit}")
        return found - 1

    def integer(self, value: int, low: int, high: int, contexts: Contexts) -> int:
        """An integer low..high, those next to 0 the cheapest."""
        if low >= 0:
            return low + self.number(value - low, high - low, contexts)
        folded = 2 * value if value >= 0 else -2 * value - 1
        if not self.decoding and not low <= value <= high:
            raise ValueError(f"{value} is not within {low}..{high}")
        folded = self.number(folded, 2 * max(high, -low), contexts)
        found = -(folded + 1) // 2 if folded % 2 else folded // 2
        if not low <= found <= high:
            raise CorruptFile(f"a number in the graph section is not within {low}..{high}")
        return found

    def real(self, value: float | bool, contexts: Contexts) -> float | bool:
        """A number: an int, a flag, or any float64, bit by bit where it is no short decimal."""
        kind, digits, exponent = _form(value)
        kind = self.choice(kind, 6, contexts)
        where = [("real", kind), *contexts]
        if kind == _FLAG:
            return self.flag(bool(value), where)
        if kind == _SPECIAL:
            return _SPECIALS[self.choice(digits, 3, where)]
        if kind == _BITS:
            halves = [self.number(digits >> s & 0xFFFF, 0xFFFF, ["bits"]) for s in (48, 32, 16, 0)]
            pattern = halves[0] << 48 | halves[1] << 32 | halves[2] << 16 | halves[3]
            return struct.unpack(">d", pattern.to_bytes(8, "big"))[0]
        digits = self.integer(digits, -MAX_INT, MAX_INT, where)
        if kind == _DECIMAL:
            exponent = self.number(exponent, MAX_DECIMALS, [*where, digits])
            return float(f"{digits}e-{exponent}")
        return digits if kind == _INT else float(digits)

    def text(self, value: str, limit: int, context: Hashable) -> str:
        """A text of at most `limit` bytes of UTF-8 without a zero byte."""
        data, found = value.encode(), bytearray()
        if 0 in data:
            raise ValueError("a text in a file has no zero byte")
        while True:
            given = data[len(found)] if len(found) < len(data) else 0
            near = bytes(found[-3:])
            contexts = [context, ("1", near[-1:]), ("2", near[-2:]), ("3", near)]
            octet = self.choice(given, 256, contexts)
            if not octet:
                break
            if len(found) == limit:
                self._refuse(f"a text in the graph section is over {limit} bytes")
            found.append(octet)
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise CorruptFile("a text in the graph section is not UTF-8") from None

    def word(self, value: str, limit: int, contexts: Contexts) -> str:
        """A text that may have been there before."""
        at = self.words.index(value) + 1 if value in self.words else 0
        at = self.number(at, len(self.words), contexts)
        if at:
            return self.words[at - 1]
        found = self.text(value, limit, "word")
        self.words.append(found)
        return found


def _budget(size: int) -> int:
    return min(FREE_DECISIONS + DECISIONS_PER_BYTE * size, MOST_DECISIONS)


def _form(value: float | bool) -> tuple[int, int, int]:
    """How a number is coded: the kind, its digits, and how many of them are decimals."""
    if isinstance(value, bool):
        return _FLAG, 0, 0
    if isinstance(value, int):
        return _INT, value, 0
    if not math.isfinite(value):
        return _SPECIAL, 2 if math.isnan(value) else int(value < 0), 0
    whole = value == int(value) and not (value == 0 and math.copysign(1, value) < 0)
    if whole and abs(value) <= MAX_INT:
        return _WHOLE, int(value), 0
    for exponent in range(1, MAX_DECIMALS + 1 if abs(value) <= MAX_INT else 1):
        digits = round(value * 10**exponent)
        if digits and abs(digits) <= MAX_INT and float(f"{digits}e-{exponent}") == value:
            return _DECIMAL, digits, exponent
    return _BITS, int.from_bytes(struct.pack(">d", value), "big"), 0
