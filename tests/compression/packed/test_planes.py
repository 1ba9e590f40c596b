"""Byte planes: exact, small where there is structure, refused where they are not whole."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from bitsback.compression.errors import CorruptFile
from bitsback.compression.packed.bounded import Body
from bitsback.compression.packed.dtypes import BY_NAME, KINDS
from bitsback.compression.packed.planes import decode_planes, encode_planes
from bitsback.compression.wire import varint
from hypothesis import given
from hypothesis import strategies as st

from .samples import any_bits, bits


def decoded(data: bytes, count: int, kind) -> np.ndarray:
    body = Body(io.BytesIO(data), 0, len(data))
    found = decode_planes(body, count, kind)
    body.end()
    return found


@given(st.data())
def test_round_trip(data):
    kind = data.draw(st.sampled_from(KINDS))
    values = data.draw(st.lists(st.integers(0, 2 ** (8 * kind.width) - 1), max_size=40))
    unsigned = np.array(values * data.draw(st.integers(1, 20)), kind.unsigned)
    packed = encode_planes(unsigned, kind)
    assert np.array_equal(decoded(packed, len(unsigned), kind), unsigned)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_noise_grows_by_the_lengths_alone(kind):
    if kind.name == "bool":
        return
    unsigned = np.frombuffer(bits(any_bits(kind, (10_000,))), kind.unsigned)
    assert len(encode_planes(unsigned, kind)) <= unsigned.nbytes + 3 * kind.width


def test_exponents_of_weights_take_three_bits():
    """A normal density has 2.55 bits of exponent (the entropy of floor(log2 |x|))."""
    weights = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    size = len(encode_planes(weights.view(np.uint32), BY_NAME["float32"]))
    assert 2.5 <= 8 * (size - 3 * 100_000) / 100_000 <= 2.75


@pytest.mark.parametrize(
    "plane",
    [
        varint(2 * 4) + b"abcd",  # too long
        varint(2 * 2) + b"ab",  # too short
        varint(2 * 3 + 1) + b"\xff\xff\xff",  # no deflate stream
        varint(2 * 3) + b"ab",  # ends early
        varint(1 << 35),
        b"\x80\x00",
        b"",
    ],
)
def test_damaged_planes_are_refused(plane):
    with pytest.raises(CorruptFile):
        decoded(plane, 3, BY_NAME["uint8"])


def test_a_deflate_stream_makes_no_more_than_it_may():
    bomb = zlib.compress(bytes(10_000_000), 9, -15)
    tracemalloc.start()
    with pytest.raises(CorruptFile, match="does not hold"):
        decoded(varint(2 * len(bomb) + 1) + bomb, 10_000, BY_NAME["uint8"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
