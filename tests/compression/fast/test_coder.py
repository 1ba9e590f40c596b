"""One stream of the profile `fast`: exact, the same compiled, of few bytes, refused if damaged."""

import random
import tracemalloc

import numpy as np
import pytest
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.context import Model
from bitsback.compression.errors import CorruptFile
from bitsback.compression.fast import coder, loops
from bitsback.compression.fast.coder import FastStream, layout
from bitsback.compression.range_coder import Stream
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from .samples import SHAPES, heavy, sparse

MOST = 1 << 16  # of a magnitude


def encoded(tensors: list[np.ndarray], compiled: bool | None = False) -> bytes:
    stream = FastStream(compiled=compiled)
    for tensor in tensors:
        stream.code(tensor, tensor.shape)
    return stream.finish()


def decoded(
    data: bytes, shapes: list[tuple[int, ...]], compiled: bool | None = False
) -> list[np.ndarray]:
    stream = FastStream(data, compiled=compiled)
    tensors = [stream.code(None, shape).reshape(shape) for shape in shapes]
    stream.check_end()
    return tensors


def check(tensors: list[np.ndarray], compiled: bool | None = False) -> bytes:
    data = encoded(tensors, compiled)
    again = decoded(data, [tensor.shape for tensor in tensors], compiled)
    for tensor, back in zip(tensors, again, strict=True):
        assert back.dtype == np.int32 and np.array_equal(tensor, back)
    return data


def test_tensors_of_any_shape():
    tensors = [heavy(shape, k) if shape else np.int32(3 - k) for k, shape in enumerate(SHAPES)]
    tensors = [np.asarray(tensor, dtype=np.int32) for tensor in tensors]
    check([tensor for tensor in tensors if tensor.size < 60_000])


def test_compiled_loops_write_and_read_the_same_bytes():
    pytest.importorskip("numba")
    tensors = [np.asarray(heavy(shape, k), np.int32) for k, shape in enumerate(SHAPES[:-1])]
    tensors += [heavy((40, 30), 3, 4000.0).clip(-MOST, MOST), sparse((300, 64), 0.02)]
    tensors += [sparse((64, 16, 3, 3), 0.1)]
    data = check(tensors, compiled=True)
    small = [tensor for tensor in tensors if tensor.size < 60_000]
    assert encoded(small, compiled=True) == encoded(small)
    assert len(data) > 10_000


@pytest.mark.parametrize("shape", [(300, 250), (90, 7, 11, 11), (3, 40_000)])
def test_a_stream_goes_on_compiled_where_it_pays(shape, monkeypatch):
    """It changes from plain to compiled loops between two tensors, and the bytes stay the same."""
    pytest.importorskip("numba")
    tensors = [heavy((10, 9), 1), heavy(shape, 2)[:, :4000], sparse(shape, 0.05)]
    monkeypatch.setattr(FastStream, "_past", 0)
    automatic = encoded(tensors, None)
    assert FastStream._past > coder.COMPILE_FROM
    assert automatic == encoded(tensors, True) == encoded(tensors, None)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        arrays(
            np.int32, array_shapes(min_dims=1, max_dims=4, max_side=6),
            elements=st.one_of(st.integers(-2, 2), st.integers(-MOST, MOST)),
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_any_integers(tensors):
    check(tensors)


@pytest.mark.parametrize("magnitude", [1, 8, 9, 10, 12, 16, 24, 25, 64, 128, 129, 130, MOST])
def test_every_class_of_magnitudes(magnitude):
    codes = np.array([[magnitude, -magnitude, 0, magnitude - 1]] * 20, dtype=np.int32)
    check([codes])


def test_a_carry_runs_back_into_the_bytes_written():
    """Decisions that are always the unlikely upper part of the interval end in 0xff bytes."""
    chance = random.Random(0)
    for seed in range(40):
        codes = np.array([chance.choice([0, 0, 0, 1, -70]) for _ in range(400)], np.int32)
        check([codes.reshape(20, 20), heavy((9, 30), seed)])


def test_what_is_read_is_what_the_columns_and_rows_say():
    """Rows and columns of their own density take fewer bytes than the same integers shuffled."""
    chance = np.random.default_rng(0)
    density = np.outer(np.linspace(0.02, 1.5, 200), np.linspace(0.1, 1, 100)) / 2
    codes = (chance.random(density.shape) < density).astype(np.int32)
    shuffled = chance.permutation(codes.reshape(-1)).reshape(codes.shape)
    pytest.importorskip("numba")
    assert len(check([codes], True)) < 0.95 * len(check([shuffled], True))


def test_no_more_bytes_than_the_small_profile_needs():
    pytest.importorskip("numba")
    columns = np.exp(np.random.default_rng(3).normal(0, 0.5, (1, 96, 1, 1)))
    codes = np.rint(heavy((128, 96, 3, 3), 1, 0.7) * columns).astype(np.int32)
    stream = Stream(compiled=True)
    Model(stream).tensor(codes.shape, "weight", Quantised(codes, Uniform(1.0)))
    assert len(check([codes], True)) < 1.01 * len(stream.finish())


def test_empty_rows_cost_next_to_nothing():
    pytest.importorskip("numba")
    assert len(check([np.zeros((1000, 500), np.int32)], True)) < 70


def test_layouts():
    assert layout((20, 8, 3, 3)) == (72, 9, 3)
    assert layout((20, 8)) == (8, 1, 1) and layout((20, 8, 1, 1)) == (8, 1, 1)
    assert layout((7,)) == (7, 1, 1) and layout(()) == (1, 1, 1)
    assert layout((3, 2, 100, 100)) == (20_000, 1, 1)
    assert layout((2, 100_000)) == (coder.WIDEST, 1, 1)
    assert layout((16, 100_000)) == (100_000, 1, 1)


def refused(data: bytes, shapes: list[tuple[int, ...]]) -> bool:
    try:
        decoded(data, shapes)
    except CorruptFile:
        return True
    return False


def test_every_truncation_is_refused():
    tensors = [heavy((9, 4, 3, 3)), sparse((20, 30), 0.1)]
    data, shapes = encoded(tensors), [tensor.shape for tensor in tensors]
    assert all(refused(data[:length], shapes) for length in range(len(data)))
    assert refused(data + b"\0", shapes) and refused(data + b"\0\0", shapes)


def test_mutated_streams_are_refused_or_read_within_their_shapes():
    chance = random.Random(0)
    tensors = [heavy((9, 4, 3, 3)), sparse((20, 30), 0.1), heavy((5, 6), 3, 300.0)]
    data, shapes = encoded(tensors), [tensor.shape for tensor in tensors]
    for _ in range(300):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        with_same_end = (
            bytes(mutant) if chance.random() < 0.5 else bytes(mutant[: chance.randrange(len(data))])
        )
        refused(with_same_end, shapes)


def test_mutants_read_alike_by_plain_and_compiled_loops():
    pytest.importorskip("numba")
    chance = random.Random(1)
    tensors = [heavy((9, 4, 3, 3)), heavy((5, 600), 3, 300.0)]
    data, shapes = encoded(tensors), [tensor.shape for tensor in tensors]
    for _ in range(60):
        mutant = bytearray(data)
        mutant[chance.randrange(len(mutant))] ^= 1 << chance.randrange(8)
        found = []
        for compiled in (False, True):
            stream = FastStream(bytes(mutant), compiled=compiled)
            try:
                found.append([stream.code(None, shape).tobytes() for shape in shapes])
            except CorruptFile as error:
                found.append([str(error)])
        assert found[0] == found[1]


def test_garbage_is_refused_where_it_ends():
    """Not after all the weights that are declared: the rest of the tensor is never decoded."""
    stream = FastStream(random.Random(1).randbytes(200), compiled=False)
    with pytest.raises(CorruptFile, match="ends before its symbols"):
        stream.code(None, (4000, 1000))
    assert stream._rc[loops.POS] < 500


@pytest.mark.parametrize("shape", [(1, 600_000), (600_000, 1), (300, 2000), (20, 10, 55, 55)])
def test_memory_is_half_as_much_again_as_the_integers(shape):
    pytest.importorskip("numba")
    codes = sparse(shape, 0.1)
    check([sparse((20, 2000), 0.1)], True)  # compiles
    tracemalloc.start()
    data = encoded([codes], True)
    assert tracemalloc.get_traced_memory()[1] < 0.5 * codes.nbytes + (2 << 20)
    tracemalloc.clear_traces()
    decoded(data, [shape], True)
    assert tracemalloc.get_traced_memory()[1] < 1.5 * codes.nbytes + (2 << 20)
    tracemalloc.stop()
