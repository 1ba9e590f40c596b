"""Rows that stand sorted in a tensor, and the bytes that their order in the file stands for.

Where rows are sorted, their order says nothing, so a writer is free to choose it: n rows have n!
orders, and the one that is written can stand for log2(n!) bits of what follows in the file. A
reader sorts the rows and has those bits back ("bits back", Frey and Hinton 1996, Free energy
coding; here without loss, since the rows are known when their order is read).

Rows may be sorted in groups that follow one another. Then dense rows still stand beside dense
ones, whose statistics the range coder shares, and fewer bits come back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .arrangements import arranged, count, rank
from .errors import CorruptFile

MAX_GROUP = 1 << 10  # rows; the integers of one group have some 9,000 bits
MAX_ROWS = 1 << 16  # of a tensor whose order stands for bytes


def group_size(rows: int, groups: int) -> int:
    """How many rows a group has; the last one may have fewer.

    :raises ValueError: a tensor of so many rows has no such groups.
    """
    size = -(-rows // groups)
    if not (2 <= size <= MAX_GROUP and rows <= MAX_ROWS):
        raise ValueError(f"{rows} rows cannot be sorted in {groups} groups")
    return size


def in_order(rows: np.ndarray, size: int) -> np.ndarray:
    """The places of rows when each group of `size` is sorted, int64.

    Rows are sorted by falling number of nonzero integers, then by their integers.

    :param rows: int32, (rows, columns).
    """
    parts = [first + _numbered(group)[1] for first, group in _groups(rows, size)]
    return np.concatenate(parts)


def orders(rows: np.ndarray, size: int) -> int:
    """How many orders the rows may be written in."""
    total = 1
    for _, group in _groups(rows, size):
        total *= count(_numbered(group)[2])
    return total


def place_of(rows: np.ndarray, size: int) -> int:
    """Which of its `orders` the rows stand in, from 0."""
    place = 0
    for _, group in _groups(rows, size):
        numbers, _, multiplicities = _numbered(group)
        place = place * count(multiplicities) + rank(numbers.tolist(), multiplicities)
    return place


def placed(rows: np.ndarray, size: int, place: int) -> np.ndarray:
    """Sorted rows in the order that has this place, the inverse of `place_of`."""
    parts = []
    for _, group in reversed(list(_groups(rows, size))):
        _, order, multiplicities = _numbered(group)
        place, within = divmod(place, count(multiplicities))
        starts = np.cumsum([0, *multiplicities])
        parts.append(group[order[starts[arranged(within, multiplicities)]]])
    return np.concatenate(parts[::-1])


def hidden(payload: bytes, total: int) -> tuple[int, bytes]:
    """A place among `total` that stands for the first bytes of a payload, and what is left of it.

    The k bytes that a number below `total` takes become one.
    """
    length = _bytes_of(total)
    if not length:
        return 0, payload
    quotient, place = divmod(int.from_bytes(payload[:length], "little"), total)
    return place, bytes([quotient]) + payload[length:]


def revealed(quotient: bytes, place: int, total: int) -> bytes:
    """The bytes that `hidden` has taken, zeros behind the end of the payload included."""
    try:
        return (int.from_bytes(quotient, "little") * total + place).to_bytes(
            _bytes_of(total), "little"
        )
    except OverflowError:
        raise CorruptFile("the order of rows in the file stands for no bytes") from None


def _bytes_of(total: int) -> int:
    """The least k with 256^k >= total."""
    return ((total - 1).bit_length() + 7) // 8


def _groups(rows: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(rows), size):
        yield first, rows[first : first + size]


def _numbered(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The number of each row among the distinct ones, the places in order, and how many of each."""
    density = np.count_nonzero(rows, axis=1)
    keys = np.empty((len(rows), rows.shape[1] + 1), dtype=">u4")
    keys[:, 0] = rows.shape[1] - density
    keys[:, 1:] = rows.astype(np.int64) + (1 << 31)  # so that bytes compare as the integers do
    texts = [row.tobytes() for row in keys]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    numbers = np.zeros(len(texts), dtype=np.int64)
    multiplicities: list[int] = []
    for i, place in enumerate(order):
        if not i or texts[place] != texts[order[i - 1]]:
            multiplicities.append(0)
        multiplicities[-1] += 1
        numbers[place] = len(multiplicities) - 1
    return numbers, np.array(order, dtype=np.int64), multiplicities
