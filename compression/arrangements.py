"""Numbers for the orders of rows: which of all distinct orders of a multiset a sequence is.

n different rows have n! orders, and rows that are equal have fewer. `rank` numbers them in
lexicographic order and `arranged` is its inverse. Integers of any size; nothing is rounded.
"""

from __future__ import annotations

from math import factorial, prod


def count(multiplicities: list[int]) -> int:
    """How many distinct orders a multiset has: n! / (m_1! m_2! ...).

    :param multiplicities: how often each of its members occurs.
    """
    return factorial(sum(multiplicities)) // prod(factorial(m) for m in multiplicities)


def rank(sequence: list[int], multiplicities: list[int]) -> int:
    """The place of a sequence among all orders of its members, from 0, lexicographic.

    :param sequence: members 0..k-1, each as often as `multiplicities` says.
    """
    left, total = _Counts(multiplicities), count(multiplicities)
    place = 0
    for done, member in enumerate(sequence):
        remaining = len(sequence) - done
        place += total * left.below(member) // remaining
        total = total * left.of(member) // remaining
        left.remove(member)
    return place


def arranged(place: int, multiplicities: list[int]) -> list[int]:
    """The sequence whose rank is `place`, in 0..count(multiplicities) - 1."""
    left, total = _Counts(multiplicities), count(multiplicities)
    sequence = []
    for remaining in range(sum(multiplicities), 0, -1):
        member = left.member(place * remaining // total)
        place -= total * left.below(member) // remaining
        total = total * left.of(member) // remaining
        left.remove(member)
        sequence.append(member)
    return sequence


class _Counts:
    """How many of each member are left, with sums over all lower members (a Fenwick tree)."""

    def __init__(self, multiplicities: list[int]) -> None:
        self._counts = list(multiplicities)
        self._tree = [0, *multiplicities]
        for i in range(1, len(self._tree)):
            if (parent := i + (i & -i)) < len(self._tree):
                self._tree[parent] += self._tree[i]
        self._top = 1 << len(multiplicities).bit_length()

    def of(self, member: int) -> int:
        return self._counts[member]

    def below(self, member: int) -> int:
        """How many of all lower members are left."""
        total = 0
        while member:
            total += self._tree[member]
            member &= member - 1
        return total

    def member(self, index: int) -> int:
        """The member at `index` of those that are left, in rising order."""
        place, step = 0, self._top
        while step:
            if place + step < len(self._tree) and self._tree[place + step] <= index:
                place += step
                index -= self._tree[place]
            step >>= 1
        return place

    def remove(self, member: int) -> None:
        self._counts[member] -= 1
        place = member + 1
        while place < len(self._tree):
            self._tree[place] -= 1
            place += place & -place
