"""Files whose rows are sorted: round trips, sizes, damage, and both ways of running the loops."""

import itertools
from dataclasses import replace
from math import log2

import numpy as np
import pytest
from bitsback.compression import codec, sorted_rows
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.codec import decode, encode
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.inspection import inspect
from bitsback.compression.range_coder import Stream
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from .samples import noise


def sample(sizes: tuple[int, ...], groups: int, percent: int = 30, levels: int = 3) -> Archive:
    """A network of dense layers with sorted rows in all layers but the last."""
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    architecture = describe(nn.Sequential(*layers))
    tensors, chosen = {}, {}
    for seed, spec in enumerate(architecture.tensors()):
        size = int(np.prod(spec.shape))
        codes = (noise(size, seed) % 100 < percent) * (noise(size, seed + 50) % levels + 1)
        codes = codes.reshape(spec.shape).astype(np.int32)
        if spec.role == "weight" and groups and spec.shape[0] >= 2 * groups:
            chosen[spec.name] = groups
            codes = codes[sorted_rows.in_order(codes, sorted_rows.group_size(len(codes), groups))]
        tensors[spec.name] = Quantised(codes, Uniform(0.125))
    return Archive(architecture, tensors, chosen)


def same(one: Archive, other: Archive) -> bool:
    return one.sorted == other.sorted and dict(one.tensors) == dict(other.tensors)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_what_comes_back_is_what_was_written(groups):
    first = sample((20, 40, 16, 3), groups)
    data = encode(first)
    assert data[3] == first.architecture.version() + codec.SORTED + codec.PREDICTED
    again = decode(data)
    assert same(again, first) and encode(again) == data


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=5), st.integers(0, 3),
    st.sampled_from([0, 5, 50, 100]), st.integers(1, 9),
)  # fmt: skip
def test_any_sizes(sizes, halvings, percent, levels):
    first = sample(tuple(sizes), 1 << halvings >> 1, percent, levels)
    assert same(decode(encode(first)), first)


def test_a_file_saves_what_an_order_says_but_for_a_cut():
    first = sample((20, 64, 10), 1)
    name = "0.weight"
    first = replace(first, sorted={name: 1})
    rows = first.tensors[name].codes
    saved = len(encode(replace(first, sorted={}))) - len(encode(first))
    entropy = log2(sorted_rows.orders(rows, len(rows))) / 8
    assert entropy - 5 < saved < entropy + 3  # sorted rows cost a little less than shuffled ones


def test_more_is_hidden_than_follows():
    first = sample((3, 200, 1), 1, percent=60, levels=9)
    narrow = np.zeros((1, 200), np.int32)
    first = replace(
        first,
        sorted={"0.weight": 1},
        tensors=first.tensors
        | {
            "1.weight": Quantised(narrow, Uniform(0.5)),
            "0.bias": Quantised(np.zeros(200, int), Uniform(1.0)),
        },
    )
    assert same(decode(encode(first)), first)


def test_compiled_and_plain_loops_agree(monkeypatch):
    first = sample((20, 40, 16, 3), 2)
    expected = encode(first)
    for compiled in (True, False):

        class Fixed(Stream):
            def __init__(self, data=None, compiled=compiled):
                super().__init__(data, compiled)

        monkeypatch.setitem(codec.CODERS, "small", (Fixed, codec.CODERS["small"][1]))
        assert encode(first) == expected
        assert same(decode(expected), first)


def test_the_parts_add_up_to_the_file():
    data = encode(sample((20, 40, 16, 3), 1))
    found = inspect(data)
    assert sum(found["items"].values()) == len(data) == found["bytes"]
    assert found["version"] == 20


def test_rows_that_are_not_sorted_are_refused():
    first = sample((20, 40, 3), 1)
    turned = first.tensors["0.weight"].codes[::-1]
    tensors = first.tensors | {"0.weight": Quantised(turned, Uniform(0.125))}
    with pytest.raises(ValueError, match="are not sorted"):
        encode(replace(first, tensors=tensors))
    with pytest.raises(ValueError, match="use 'small'"):
        encode(first, "huffman")


def test_damaged_files_are_refused_or_are_other_networks():
    data = encode(sample((9, 24, 8, 3), 1))
    refused = 0
    for place in range(4, len(data) - 4):
        for change in (1, 128):
            damaged = bytearray(data[:-4])
            damaged[place] ^= change
            damaged += codec.zlib.crc32(bytes(damaged)).to_bytes(4, "little")
            try:
                decode(bytes(damaged))
            except CorruptFile:
                refused += 1
    assert refused > 0
    for cut in (1, 5, 20):
        short = data[: -4 - cut]
        with pytest.raises(CorruptFile):
            decode(short + codec.zlib.crc32(short).to_bytes(4, "little"))
    longer = data[:-4] + b"\0"
    with pytest.raises(CorruptFile):
        decode(longer + codec.zlib.crc32(longer).to_bytes(4, "little"))
