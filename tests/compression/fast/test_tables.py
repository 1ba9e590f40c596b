"""The tables of the profile `fast`."""

from itertools import pairwise
from math import log2

from bitsback.compression.fast import loops, tables


def test_logarithms_are_rounded():
    found = tables.logarithms()
    assert len(found) == 4096 and found[0] == 0
    assert all(abs(found[n] - 16 * log2(n)) <= 0.5 for n in range(1, 4096))


def test_rates_fall_from_a_first_value_of_5_8():
    found = tables.rates()
    assert len(found) == loops.MOST_USES + 1 and found[0] == 40960
    assert all(abs(rate - 65536 / (n + 1.6)) < 1 for n, rate in enumerate(found))


def test_classes_meet():
    """Each class begins where the one before ends."""
    for least, bits, after in zip(tables.LEAST, tables.BITS, tables.LEAST[1:], strict=False):
        assert least + (1 << bits) == after
    assert tables.LEAST[-1] == loops.LAST and len(tables.LEAST) == loops.CLASSES


def test_first_counts_and_frequencies():
    counts = tables.first_counts()
    assert len(counts) == loops.TABLES * loops.CLASSES and min(counts) == 1
    found = tables.frequencies(counts)
    for first in range(0, len(found), 17):
        part = found[first : first + 17]
        assert part[0] == 0 and part[-1] == 1 << 15
        assert all(a < b for a, b in pairwise(part))
    means = [
        sum(c * v for c, v in zip(counts[t * 16 :], tables.LEAST, strict=False))
        for t in range(0, 200, 5)
    ]
    assert means[-1] > means[20] > means[0]


def test_first_cells_rise_with_what_is_expected():
    flags, signs = tables.first_cells()
    assert len(flags) == loops.FLAGS and len(signs) == loops.SIGNS
    chances = [cell >> 10 for cell in flags[:: loops.NEAR_STATES]]
    assert chances == sorted(chances) and chances[0] > 0 and chances[-1] < 1 << 20
    assert set(signs) == {1 << 29}
