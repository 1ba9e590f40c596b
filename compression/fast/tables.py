"""The tables of the profile `fast`, and where its statistics begin. All by integers alone."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from .loops import CLASSES, COUNT, FLAGS, LAST, MOST_USES, NEAR_STATES, SIGNS, TABLES

LEAST = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 25, 33, 65, LAST)  # magnitude of each class
BITS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 3, 5, 6, 0)  # as they are, behind each class
NEAR = (0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7)  # state by the magnitudes around
START_MEAN = 1024  # of a matrix: a magnitude of 1
START_USES = 5  # of the classes of a table together
FIRST_WAIT = 8  # uses until its frequencies are made anew
FLAG_USES = 2  # of a cell of "nonzero?", to begin with
HALF = 1 << 29  # a cell that was never used
LEAST_MEAN = 629146  # 0.6, with 20 fractional bits


@cache
def logarithms() -> tuple[int, ...]:
    """16 x log2 of 0..4095, rounded; 0 for 0."""
    return (0, *((n**32).bit_length() // 2 for n in range(1, 4096)))


@cache
def rates() -> tuple[int, ...]:
    """How fast a mean of n values moves, 16 fractional bits: 1 / (n + 1.6)."""
    return tuple(655360 // (10 * n + 16) for n in range(MOST_USES + 1))


@cache
def first_counts() -> tuple[int, ...]:
    """Counts of the classes of each table: magnitudes fall as a geometric distribution's."""
    out: list[int] = []
    for table in range(TABLES):
        level = table // 5
        mean = max((1722 if level % 2 else 1218) << level // 2, LEAST_MEAN)
        ratio = (mean << 16) // (mean + (1 << 20))
        tail = [(1 << 16) * ratio ** (least - 1) >> 16 * (least - 1) for least in LEAST] + [0]
        shares = [above - below for above, below in pairwise(tail)]
        out += [max(START_USES * COUNT * share >> 16, 1) for share in shares]
    return tuple(out)


def frequencies(counts: tuple[int, ...]) -> list[int]:
    """The cumulative frequencies of each table, as `loops.counted` makes them."""
    out: list[int] = []
    for first in range(0, len(counts), CLASSES):
        part = counts[first : first + CLASSES]
        sums = [sum(part[:k]) for k in range(CLASSES)]
        out += [k + below * ((1 << 15) - CLASSES) // sum(part) for k, below in enumerate(sums)]
        out.append(1 << 15)
    return out


def first_cells() -> tuple[list[int], list[int]]:
    """The cells of "nonzero?", by the magnitude expected, and of signs, not used so far."""
    flags = []
    for level in range(FLAGS // NEAR_STATES):
        mean = (1722 if level % 2 else 1218) << level // 2
        chance = (mean << 20) // (mean + (1 << 20))
        flags += [(chance << 10) + FLAG_USES] * NEAR_STATES
    return flags, [HALF] * SIGNS
