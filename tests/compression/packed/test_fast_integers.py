"""Strips of packed checkpoints in the profile `fast`."""

import io

import numpy as np
import pytest
import torch
from bitsback.compression import file
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.errors import CorruptFile
from bitsback.compression.packed import fast_integers, writer
from bitsback.compression.packed.bounded import Body
from bitsback.compression.packed.dtypes import BY_NAME
from bitsback.compression.packed.fast_integers import decode_fast, encode_fast
from bitsback.compression.packed.header import FAST_INTEGERS
from bitsback.compression.packed.reader import PackedReader
from bitsback.compression.wire import varint

from .samples import packed, read, weights

FLOAT = BY_NAME["float32"]


def body(data: bytes) -> Body:
    return Body(io.BytesIO(data), 0, len(data))


def test_a_strip_comes_back():
    codes = np.random.default_rng(0).integers(-40, 41, (30, 7, 3)).astype(np.int32)
    data = encode_fast(Quantised(codes, Uniform(0.125)))
    bits = decode_fast(body(data), codes.shape, FLOAT)
    assert np.array_equal(bits.view(np.float32), 0.125 * codes.reshape(-1))


@pytest.mark.parametrize("step", [b"\0\0", b"\x80\x7f", b"\0\x80", b"\xff\xff", b"", b"\x80"])
def test_a_step_that_is_none_is_refused(step):
    codes = np.ones((2, 2), np.int32)
    data = encode_fast(Quantised(codes, Uniform(0.125)))[1:]
    data = step + data[2:] if len(step) == 2 else step
    with pytest.raises(CorruptFile):
        decode_fast(body(varint(len(data)) + data), codes.shape, FLOAT)


def test_more_than_the_bytes_can_hold_is_refused_before_memory_is_taken():
    data = encode_fast(Quantised(np.ones((2, 2), np.int32), Uniform(0.125)))
    with pytest.raises(CorruptFile, match="more weights than its bytes"):
        decode_fast(body(data), (1 << 15, 1 << 15), FLOAT)


def test_both_profiles_hold_the_same_values_within_the_bound():
    tensors = weights()
    small, fast = (packed(tensors, 0.4, coder) for coder in ("small", "fast"))
    assert read(small) == read(fast)
    assert len(fast) < 1.05 * len(small)
    report = file.inspect(fast)
    assert (report["version"], report["coder"]) == (10, "fast and deflate")
    assert {layer["form"] for layer in report["layers"]} == {"fast integers"}
    assert report["bytes"] == sum(report["items"].values())


def test_large_checkpoints_are_fast_if_nobody_says_otherwise(monkeypatch):
    monkeypatch.setattr(writer, "FAST_FROM", 10_400)
    assert packed(weights(), 0.4)[3] == 10 and packed(weights(), 0.4, "small")[3] == 5
    monkeypatch.setattr(writer, "FAST_FROM", 10_401)
    assert packed(weights(), 0.4)[3] == 5
    assert packed(weights(), None, "fast")[3] == 5  # nothing to be coded so


def test_a_tensor_of_several_strips(monkeypatch):
    for module in ("lossy", "reader"):
        monkeypatch.setattr(f"bitsback.compression.packed.{module}.FAST_STRIP", 1000)
    tensors = {"a": torch.randn(50, 90, generator=torch.Generator().manual_seed(0))}
    data = packed(tensors, 0.4, "fast")
    found = PackedReader(data)
    (item, bits, _) = next(iter(found.tensors()))
    assert item.form == FAST_INTEGERS and fast_integers.FAST_STRIP == 1 << 22
    off = np.abs(bits.view(np.float32).reshape(50, 90) - tensors["a"].numpy())
    assert 0.1 < off.max() <= 0.4 * tensors["a"].square().mean().sqrt()


def test_an_unknown_coder_is_named():
    with pytest.raises(ValueError, match="coder 'huffman': must be one of small, fast"):
        packed(weights(), 0.4, "huffman")
