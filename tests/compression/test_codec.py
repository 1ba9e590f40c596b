"""Hostile files: sizes are admitted before memory is taken, and garbage is refused early."""

import contextlib
import random
import time
import tracemalloc

import numpy as np
import pytest
from bitsback.compression import codec, file
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.errors import CorruptFile
from bitsback.compression.fast.coder import FastStream
from bitsback.compression.nodes import TensorSpec
from bitsback.compression.range_coder import COMPILE_FROM, Stream
from bitsback.compression.wire import varint
from torch import nn

from . import forged
from .forged import repaired
from .samples import archive, conv_net, dense_net, short_net

CODERS = list(file.CODERS)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1 << 14, 1 << 14), "more weights than its bytes can hold"),
        ((1 << 24, 0), "is empty, but"), ((0, 1 << 24), "is empty, but"),
        ((0, 400_000, 400_000), "is empty, but"),  # 27 bytes that took 6 GB
        ((0, 5000, 5000, 1000, 2000, 5000, 1, 16), "is empty, but"),  # no array has that shape
        ((1 << 29,), "more weights"), ((1 << 30,), "would take"),
    ],
)  # fmt: skip
def test_sizes_are_admitted_before_memory_is_taken(shape, message):
    """A small file that declares a huge tensor, or empty rows of one, costs next to no memory."""
    for coder in CODERS:
        data = forged.file(forged.listed(shape), bytes(100), coder)
        tracemalloc.start()
        with pytest.raises(CorruptFile, match=message):
            file.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
        tracemalloc.stop()


def peak(read, data: bytes) -> float:
    """The most memory that reading takes, in MiB, whether or not the file is refused."""
    tracemalloc.start()
    with contextlib.suppress(CorruptFile):
        read(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / (1 << 20)


SHAPES = [(1, 600_000), (600_000, 1), (2, 1, 512, 512), (2, 300_000), (700, 900), (600_000,)]
CASES = [(coder, shape) for coder in ("small", "fast") for shape in SHAPES] + [
    ("huffman", (1, 50_000)),
    ("huffman", (50_000,)),
]


@pytest.mark.parametrize(("coder", "shape"), CASES)
def test_memory_follows_the_declared_size(coder, shape, monkeypatch):
    """64 MiB and twice the tensor in float32, for good files and for garbage."""
    if coder != "huffman":
        pytest.importorskip("numba")  # plain loops take minutes
    monkeypatch.setattr(Stream, "_past", COMPILE_FROM)
    monkeypatch.setattr(FastStream, "_past", COMPILE_FROM)
    source = archive_of(shape)
    good = file.encode(source, coder)  # loads numba, if it is there
    garbage = forged.file(source.architecture, good[-900:-100], coder)
    for read in (file.decode, file.inspect):
        assert peak(read, good) <= 64 + 2 * 4 * np.prod(shape) / (1 << 20)
        assert peak(read, garbage) <= 64 + 2 * 4 * np.prod(shape) / (1 << 20)


def test_range_is_the_range_coder_in_the_profile_of_the_size():
    source = archive(dense_net())
    assert file.encode(source, "range") == file.encode(source) == file.encode(source, "small")
    with pytest.raises(ValueError, match="unknown coder 'arithmetic'; known are small"):
        file.encode(source, "arithmetic")


@pytest.mark.parametrize("make", [dense_net, conv_net, short_net])
def test_small_files_take_little_memory(make):
    assert peak(file.inspect, file.encode(archive(make()))) < 16
    assert peak(file.inspect, forged.whole(forged.chain(*[forged.layer(nn.ReLU)] * 980))) < 16


def archive_of(shape: tuple[int, ...]) -> Archive:
    architecture = forged.listed(shape)
    codes = sparse_codes(shape)
    return Archive(architecture, {"0": Quantised(codes, Uniform(0.5))})


def sparse_codes(shape: tuple[int, ...]) -> np.ndarray:
    chance = np.random.default_rng(0)
    return (chance.integers(-3, 4, shape) * (chance.random(shape) < 0.05)).astype(np.int32)


@pytest.mark.parametrize("number", [1, 3])
def test_a_fast_file_has_no_other_coder(number):
    data = bytearray(file.encode(archive(dense_net()), "fast"))
    place = len(codec.MAGIC) + 1
    data[place] |= number & 1
    with pytest.raises(CorruptFile, match="'huffman' is not in files of this version"):
        file.decode(repaired(bytes(data)))


def test_a_file_with_predictions_has_no_other_coder():
    data = bytearray(file.encode(archive(dense_net())))
    assert data[len(codec.MAGIC)] == 1 + codec.PREDICTED
    data[len(codec.MAGIC) + 1] |= 1
    with pytest.raises(CorruptFile, match="'huffman' is not in files of this version"):
        file.decode(repaired(bytes(data)))


@pytest.mark.parametrize("number", [0, codec.PACKED + codec.PREDICTED])
def test_versions_that_do_not_exist(number):
    data = bytearray(file.encode(archive(dense_net())))
    data[len(codec.MAGIC)] = number
    with pytest.raises(CorruptFile, match=f"no format version {number}"):
        file.decode(repaired(bytes(data)))


def test_large_networks_are_fast_if_nobody_says_otherwise(monkeypatch):
    monkeypatch.setattr(codec, "FAST_FROM", 900)
    assert [file.inspect(file.encode(archive_of((30, n))))["coder"] for n in (29, 30)] == [
        "small",
        "fast",
    ]
    assert file.inspect(file.encode(archive_of((30, 30)), "small"))["coder"] == "small"


def test_large_sparse_networks_decode():
    """11 million weights, 300 of them left, are too few bytes for the profile small."""
    pytest.importorskip("numba")
    codes = np.zeros((3300, 3400), np.int32)
    chance = np.random.default_rng(0)
    codes.reshape(-1)[chance.choice(codes.size, 300, replace=False)] = 1
    source = Archive(forged.listed(codes.shape), {"0": Quantised(codes, Uniform(0.5))})
    with pytest.raises(ValueError, match="too empty for its size"):
        file.encode(source, "small")
    again = file.decode(file.encode(source))
    assert again.tensors["0"] == source.tensors["0"]


def test_garbage_is_refused_long_before_its_end():
    """In the time of what is there, not of what is declared."""
    data = forged.file(forged.listed((2000, 2000)), random.Random(1).randbytes(760))
    start = time.process_time()
    with pytest.raises(CorruptFile, match="ends before"):
        file.decode(data)
    assert time.process_time() - start < 0.5


def test_a_megabyte_of_layers_is_refused_while_it_is_read():
    relu = b"\x0a"
    for shapes in (b"\0\0" + varint(4 * 5000) + 5000 * relu, b"\0" + 60_000 * b"\0\4"):
        head = codec.MAGIC + b"\1" + varint(2 * len(shapes))
        with pytest.raises(CorruptFile, match=r"more than 4096|not within|16 deep"):
            file.decode(repaired(head + shapes + bytes(5)))


def test_names_do_not_grow_from_each_other():
    """Each name of a list may begin as the one before, and be longer by 500 bytes."""
    grown = [TensorSpec("a" * 400 * k, (1,), "raw", "uint8") for k in range(1, 200)]
    data = forged.file(Architecture(None, tuple(grown)))
    assert peak(file.decode, data) < 4
    with pytest.raises(CorruptFile, match="takes over 512 bytes"):
        file.decode(data)
