"""The published coder against the numbers of its paper and of a textbook."""

from math import log2

import numpy as np
import pytest
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.errors import CorruptFile
from bitsback.compression.huffman import (
    MAX_LENGTH,
    BitStream,
    Published,
    canonical_codes,
    code_lengths,
    entries,
    published_bits,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from .samples import archive, codebook, conv_net, sparse


def test_textbook_code():
    """Cormen et al., Introduction to Algorithms, figure 16.4: 224 thousand bits."""
    counts = [45, 13, 12, 16, 9, 5]
    lengths = code_lengths(counts)
    assert lengths == [1, 3, 3, 3, 4, 4]
    assert sum(n * k for n, k in zip(lengths, counts, strict=True)) == 224
    assert list(canonical_codes(lengths).values()) == ["0", "100", "101", "110", "1110", "1111"]


def test_lengths_stay_within_the_tables():
    fibonacci = [1, 1]
    while len(fibonacci) < 60:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = code_lengths(fibonacci)
    assert max(lengths) <= MAX_LENGTH
    assert sum(2.0**-n for n in lengths) == 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60))
def test_codes_are_within_a_bit_of_the_entropy(counts):
    lengths = code_lengths(counts)
    total = sum(counts)
    bits = sum(n * k for n, k in zip(lengths, counts, strict=True))
    entropy = -sum(k * log2(k / total) for k in counts if k)
    assert entropy <= bits + 1e-6
    assert bits < entropy + total or not total or bits == total
    codes = list(canonical_codes(lengths).values())
    assert all(not b.startswith(a) for a in codes for b in codes if a != b)


@pytest.mark.parametrize("lengths", [[1, 1, 1], [2, 2, 2], [1, 2], [3]])
def test_tables_that_are_no_code_are_corrupt(lengths):
    with pytest.raises(CorruptFile):
        canonical_codes(lengths)


def test_papers_example_of_a_filler():
    """Deep Compression, figure 2: entries at 1, 4, 15 with 3 index bits need a filler at 12."""
    codes = np.zeros(16, dtype=np.int32)
    codes[[1, 4, 15]] = [34, 9, 17]
    gaps, symbols = entries(codes, 3)
    assert [gap + 1 for gap in gaps] == [2, 3, 8, 3]
    assert symbols == [34, 9, 0, 17]


@given(
    arrays.arrays(np.int32, st.integers(0, 300), elements=st.integers(-4, 5), fill=st.just(0)),
    st.sampled_from(["weight", "bias"]),
)
def test_round_trip(codes, role):
    for grid in (codebook(4, 5), Uniform(0.5)):
        tensor = Quantised(codes.reshape(1, -1) if role == "weight" else codes, grid)
        stream = BitStream()
        Published(stream).tensor(tensor.codes.shape, role, tensor)
        back = BitStream(stream.finish())
        assert Published(back).tensor(tensor.codes.shape, role) == tensor
        back.check_end()


def test_published_count():
    """Values, distances and codebook of each weight, counted by hand on a small example."""
    source = archive(conv_net())
    bits = published_bits(source)
    assert set(bits) == {"0.weight", "2.weight", "5.weight"}
    codes = source.tensors["5.weight"].codes
    gaps, symbols = entries(codes.reshape(-1), 5)
    expected = 32 * len(set(symbols) - {0})
    for stream in (gaps, symbols):
        counts = [stream.count(symbol) for symbol in sorted(set(stream))]
        expected += sum(n * k for n, k in zip(code_lengths(counts), counts, strict=True))
    assert bits["5.weight"] == expected


def test_sparse_layers_are_small():
    tensor = Quantised(sparse((100, 100), 5, 4, 1), codebook(4, 4))
    stream = BitStream()
    Published(stream).tensor((100, 100), "weight", tensor)
    kept = np.count_nonzero(tensor.codes)
    assert 7 * kept < stream.bits() < 10 * kept + 500
