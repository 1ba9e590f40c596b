"""The arithmetic coder: exact round trips, size near the entropy, and ends that are checked."""

import ast
import inspect
import weakref
from math import exp, log2

import numpy as np
import pytest
from bitsback.compression import kernels, limits
from bitsback.compression.errors import CorruptFile
from bitsback.compression.range_coder import COMPILE_FROM, SQUASH, Stream
from hypothesis import given
from hypothesis import strategies as st

from .samples import noise

decisions = st.lists(st.tuples(st.integers(0, 1), st.integers(4, 65532)), max_size=400)


def write(pairs: list[tuple[int, int]]) -> bytes:
    stream = Stream()
    stream._reserve(len(pairs))
    for symbol, probability in pairs:
        kernels.bit(stream._state, stream._buffer, symbol, probability)
    return stream.finish()


def read(data: bytes, probabilities: list[int]) -> list[int]:
    stream = Stream(data)
    symbols = [kernels.bit(stream._state, stream._buffer, 0, p) for p in probabilities]
    stream._check()
    stream.check_end()
    return symbols


@given(decisions)
def test_round_trip(pairs):
    assert read(write(pairs), [p for _, p in pairs]) == [s for s, _ in pairs]


@pytest.mark.parametrize("symbol", [0, 1])
@pytest.mark.parametrize("probability", [4, 32768, 65532])
def test_extreme_runs_round_trip(symbol, probability):
    """Runs of the likeliest and unlikeliest symbols, where carries travel far."""
    pairs = [(symbol, probability)] * 2000 + [(1 - symbol, probability)]
    assert read(write(pairs), [probability] * 2001) == [symbol] * 2000 + [1 - symbol]


def test_carry_runs_through_bytes_of_255():
    """The interval is steered to where low = 0x7f ff ff ...; then a carry must clear them all."""
    pairs = [(0, 32769)] + [(1, 32768)] * 60 + [(0, 65532)] * 30 + [(0, 32768)] * 40
    assert read(write(pairs), [p for _, p in pairs]) == [s for s, _ in pairs]


def test_nothing_takes_one_byte():
    assert write([]) == b"\0"
    assert read(b"\0", []) == []


def test_size_is_the_information():
    """Within 0.01 % and two bytes of -log2 P, also when nearly all symbols are the likely one."""
    probabilities = [655 if k % 2 else 30000 for k in range(20000)]
    pairs = [(int(r < p), p) for r, p in zip(noise(20000, 1), probabilities, strict=True)]
    bits = sum(-log2((p if s else 65536 - p) / 65536) for s, p in pairs)
    assert abs(8 * len(write(pairs)) - bits) < 1e-4 * bits + 16


def test_bits_reports_the_information():
    stream = Stream()
    stream._reserve(3)
    for symbol, probability in [(1, 4), (0, 32768), (0, 16384)]:
        kernels.bit(stream._state, stream._buffer, symbol, probability)
    assert stream.bits() == pytest.approx(14 + 1 + log2(4 / 3), abs=1e-4)


def test_a_stream_must_end_where_its_symbols_do():
    pairs = [(k % 3 == 0, 20000) for k in range(300)]
    data, probabilities = write(pairs), [p for _, p in pairs]
    for wrong in (data[:-1], data + b"\0", data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(CorruptFile):
            read(wrong, probabilities)
    for length in range(len(data) - 4):
        with pytest.raises(CorruptFile, match="ends before"):
            read(data[:length], probabilities)


def test_squash_table():
    """The integer table is the logistic function to within its rounding, and symmetric."""
    expected = [65536 / (1 + exp(-(k - 3072) / 256)) for k in range(6145)]
    assert max(abs(a - b) for a, b in zip(SQUASH, expected, strict=True)) < 16
    inner = slice(960, -960)
    differences = zip(SQUASH[inner], expected[inner], strict=True)
    assert max(abs(a - b) for a, b in differences) <= 1
    assert all(a + b == 65536 for a, b in zip(SQUASH, reversed(SQUASH), strict=True))
    assert list(SQUASH) == sorted(SQUASH)
    assert SQUASH[0] == 16


def octets(stream: Stream, data: np.ndarray) -> None:
    """Code bytes, two to an element."""
    theta, seen = np.zeros(512, dtype=np.int64), np.full(512, 20000)
    stream.run(kernels.octets, 8 * len(data), data, 2, theta, seen, [0], SQUASH)


def test_python_and_numba_write_the_same_bytes():
    pytest.importorskip("numba")
    source = (noise(500, 7) % 7).astype(np.uint8)
    files = []
    for compiled in (False, True):
        stream = Stream(compiled=compiled)
        octets(stream, source.copy())
        files.append(stream.finish())
        back, found = Stream(files[0], compiled=compiled), np.zeros(500, dtype=np.uint8)
        octets(back, found)
        back.check_end()
        assert found.tolist() == source.tolist()
    assert files[0] == files[1]


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def compiled(request):
    if request.param:
        pytest.importorskip("numba")
    return request.param


def test_a_short_stream_is_corrupt(compiled):
    """It is noticed where it ends, not after all symbols: the data behind are as they were."""
    stream, data = Stream(b"\x12\x34", compiled=compiled), np.full(5000, 77, dtype=np.uint8)
    with pytest.raises(CorruptFile, match="ends before"):
        octets(stream, data)
    assert np.all(data[100:] == 77)


def test_kernels_raise_nothing():
    """A function that numba compiled and that raises never frees its arrays."""
    tree = ast.parse(inspect.getsource(kernels))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Raise | ast.Assert)]


def test_a_damaged_file_leaves_no_memory_behind():
    """In compiled loops, which hold what they are given until they return."""
    pytest.importorskip("numba")
    data = np.zeros(5000, dtype=np.uint8)
    kept = weakref.ref(data)
    with pytest.raises(CorruptFile):
        octets(Stream(b"\x12\x34", compiled=True), data)
    del data
    assert kept() is None


def test_decisions_are_limited_by_the_bytes(compiled, monkeypatch):
    """Likely symbols cost next to nothing to write, and each takes the same time to read."""
    stream = Stream(compiled=compiled)
    octets(stream, np.zeros(5000, dtype=np.uint8))
    data = stream.finish()
    monkeypatch.setattr(limits, "FREE_DECISIONS", 1000)
    monkeypatch.setattr(limits, "DECISIONS_PER_BYTE", 10)
    with pytest.raises(CorruptFile, match="more decisions"):
        octets(Stream(data, compiled=compiled), np.zeros(5000, dtype=np.uint8))
    stream = Stream(compiled=compiled)
    octets(stream, np.zeros(5000, dtype=np.uint8))
    with pytest.raises(ValueError, match="too empty"):
        stream.finish()


def test_numba_is_loaded_when_it_pays(monkeypatch):
    """For what this process has coded in all, not for one loop; short loops stay plain."""
    pytest.importorskip("numba")
    monkeypatch.setattr(Stream, "_past", 0)
    stream = Stream()
    assert not stream._use_numba(COMPILE_FROM - 1)
    assert stream._use_numba(COMPILE_FROM)
    assert not stream._use_numba(10)
