"""The model of the range coder: exact for any tensor, the same compiled, and worth its name."""

import ast
from math import log, log2
from pathlib import Path

import numpy as np
import pytest
from bitsback.compression import context, geometry, grids, kernels
from bitsback.compression.archive import MAX_LEVELS, Codebook, Quantised, Uniform, storable
from bitsback.compression.context import Model
from bitsback.compression.errors import CorruptFile
from bitsback.compression.grids import GridCoder
from bitsback.compression.range_coder import Stream
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from .samples import codebook, noise, sparse

SHAPES = st.sampled_from(
    [(), (0,), (1,), (9,), (0, 3), (3, 0), (1, 1), (5, 7), (4, 16), (3, 4, 3), (4, 2, 3, 2), (2, 0)]
)  # fmt: skip


def write(tensors: list[Quantised], compiled: bool | None = False, predicts: bool = False) -> bytes:
    """Weights one after the other in one stream."""
    stream = Stream(compiled=compiled)
    model = Model(stream, predicts=predicts)
    for tensor in tensors:
        model.tensor(tensor.codes.shape, "weight", tensor)
    return stream.finish()


def read(
    data: bytes, shapes: list[tuple], compiled: bool | None = False, predicts: bool = False
) -> list[Quantised]:
    stream = Stream(data, compiled=compiled)
    model = Model(stream, predicts=predicts)
    tensors = [model.tensor(shape, "weight") for shape in shapes]
    stream.check_end()
    return tensors


def check(tensors: list[Quantised], compiled: bool | None = False) -> None:
    shapes = [tensor.codes.shape for tensor in tensors]
    for predicts in (False, True):
        assert read(write(tensors, compiled, predicts), shapes, compiled, predicts) == tensors


@st.composite
def quantised(draw: st.DrawFn) -> Quantised:
    if draw(st.booleans()):
        grid = codebook(draw(st.integers(0, 9)), draw(st.integers(0, 9)))
        low, high = grid.bounds()
    else:
        grid = Uniform(float(storable(draw(st.floats(1e-30, 1e30)))))
        low, high = draw(st.sampled_from([(-1, 1), (0, 300), (-MAX_LEVELS, MAX_LEVELS), (0, 0)]))
    shape = draw(SHAPES)
    if isinstance(grid, Uniform) and len(shape) > 1 and shape[0] and draw(st.booleans()):
        shifts = draw(st.lists(st.integers(0, 12), min_size=shape[0] - 1, max_size=shape[0] - 1))
        grid, low, high = Uniform(grid.step, (0, *shifts)), max(low, -16), min(high, 16)
    values = st.integers(low, high)
    codes = draw(arrays.arrays(np.int32, shape, elements=values, fill=st.just(0)))
    return Quantised(codes, grid)


@settings(max_examples=150)
@given(st.lists(quantised(), min_size=1, max_size=4))
def test_any_tensors_round_trip(tensors):
    check(tensors)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(st.lists(quantised(), min_size=1, max_size=4))
def test_very_many_tensors_round_trip(tensors):
    check(tensors)


def test_all_symbols_of_the_largest_alphabet_round_trip():
    codes = np.arange(-(1 << 15), 1 << 15).reshape(256, 256)
    check([Quantised(codes, Uniform(1.0))], compiled=None)
    check([Quantised(np.array([MAX_LEVELS, -MAX_LEVELS, 1, -1]), Uniform(1.0))])


@pytest.mark.parametrize("code", [0, 1, -3])
def test_one_symbol_costs_next_to_nothing(code):
    codes = np.full((100, 100), code)
    tensor = Quantised(codes, codebook(3, 1))
    check([tensor])
    assert len(write([tensor])) < 60


@pytest.mark.parametrize("predicts", [False, True])
def test_python_and_numba_write_the_same_bytes(predicts):
    """Every kernel, both ways: image columns, kernels, feature maps, masks, raw bytes."""
    pytest.importorskip("numba")
    kept = noise(49, 5) % 4 > 0
    shapes = [(5, int(kept.sum())), (6, 5, 3, 3), (7, 24), (3, 7)]
    tensors = [Quantised(sparse(s, 20, 7, k), codebook(7, 8)) for k, s in enumerate(shapes)]

    def run(data: bytes | None, compiled: bool) -> tuple[bytes | None, list]:
        stream = Stream(data, compiled=compiled)
        model = Model(stream, predicts=predicts)
        given = tensors if data is None else [None] * len(tensors)
        out = [model.mask(49, kept if data is None else None)]
        out += [model.tensor(s, "weight", t) for s, t in zip(shapes, given, strict=True)]
        out.append(model.octets(40, 8, bytes(40) if data is None else None))
        if data is None:
            return stream.finish(), out
        stream.check_end()
        return None, out

    plain, _ = run(None, False)
    assert run(None, True)[0] == plain
    for compiled in (False, True):
        _, out = run(plain, compiled)
        assert np.array_equal(out[0], kept)
        assert out[1:-1] == tensors
        assert out[-1] == bytes(40)


def smooth_kernels(shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Integers of kernels whose neighbours are alike: each is most of the one to its left."""
    values = (noise(shape[0] * shape[1] * shape[2] * shape[3], 3).reshape(shape) / 32768) - 1
    for x in range(1, shape[3]):
        values[..., x] = 0.8 * values[..., x - 1] + 0.6 * values[..., x]
    return np.rint(scale * values).astype(np.int32)


def test_predictions_shorten_smooth_kernels():
    codes = smooth_kernels((16, 16, 5, 5), 4)
    tensor = Quantised(codes, Uniform(1.0))
    before, after = (len(write([tensor], None, predicts)) for predicts in (False, True))
    assert after < 0.93 * before


def test_predictions_change_nothing_without_neighbours():
    """Of a dense layer behind no image, but for the bits of its grid."""
    tensor = Quantised(sparse((20, 7), 40, 7, 1), Uniform(1.0))
    assert abs(len(write([tensor], predicts=True)) - len(write([tensor]))) <= 1


@pytest.mark.parametrize("scale", [1, 300, MAX_LEVELS / 4])
def test_predictions_stay_within_63_bits(scale):
    """Weights of every size, and signs that go against what was learned so far."""
    pytest.importorskip("numba")
    codes = smooth_kernels((12, 9, 3, 3), scale)
    codes[6:] *= 1 - 2 * (np.arange(9) % 2).reshape(3, 3)
    codes[8] = np.sign(codes[8]) * MAX_LEVELS
    tensor = Quantised(codes, Uniform(1.0))
    plain = write([tensor], False, True)
    assert write([tensor], True, True) == plain
    for compiled in (False, True):
        assert read(plain, [codes.shape], compiled, True) == [tensor]


def test_values_of_few_bits_take_fewer_bytes():
    """A grid says how many bits its values have."""
    rng = np.random.default_rng(0)
    values = np.unique(np.exp(rng.normal(size=40)))
    sizes = []
    for bits in (7, 4, 1):
        grid = Codebook(np.zeros(0, np.float32), np.unique(storable(values, bits)))
        tensor = Quantised(np.zeros((1, 1), np.int32), grid)
        check([tensor])
        sizes.append(len(write([tensor], predicts=True)))
    assert sizes[1] < sizes[0] - 10 and sizes[2] < sizes[1] - 5


@pytest.mark.parametrize(("dense", "empty"), [(40, 120), (20, 60), (10, 110)])
def test_what_rows_lend_stays_within_63_bits(dense, empty):
    """Rows that are all zero after denser ones teach a weight beyond 1 of what they lend."""
    pytest.importorskip("numba")
    codes = np.zeros((dense + empty, 100), int)
    codes[:dense] = sparse((dense, 100), 30, 7, 1)
    tensor = Quantised(codes, codebook(7, 8))
    plain = write([tensor], compiled=False)
    assert write([tensor], compiled=True) == plain
    assert len(plain) < 2 * len(write([Quantised(codes[:dense], tensor.grid)]))
    for compiled in (False, True):
        assert read(plain, [codes.shape], compiled) == [tensor]


def heavy_tailed(rows: int, side: int, seed: int) -> np.ndarray:
    """A layer on an image as pruning leaves it: units look at patches, few pixels matter much."""
    y, x = np.divmod(np.arange(side * side), side)
    chance = np.empty((rows, side * side))
    place = noise(3 * rows, seed).reshape(rows, 3) / 65536
    for row, (cy, cx, size) in enumerate(place):
        away = ((y - cy * side) ** 2 + (x - cx * side) ** 2) / (2 + 20 * size**3)
        chance[row] = 0.3 * np.exp(-away)
    there = noise(chance.size, seed + 1).reshape(chance.shape) / 65536 < chance
    return there * (1 - 2 * (noise(rows, seed + 2) % 2))[:, None]


def test_beats_the_entropy_of_its_symbols():
    """On a layer with structure, well below the static entropy and the oracle of its rows."""
    codes = heavy_tailed(150, 20, 1)
    size = 8 * len(write([Quantised(codes, codebook(1, 1))], compiled=None))
    symbols, counts = np.unique(codes, return_counts=True)
    assert len(symbols) == 3
    entropy = -sum(int(n) * log2(n / codes.size) for n in counts)
    rows = (codes != 0).mean(axis=1)
    rows = rows[(rows > 0) & (rows < 1)]
    by_row = codes.shape[1] * -(rows * np.log2(rows) + (1 - rows) * np.log2(1 - rows)).sum()
    assert size < 0.8 * entropy
    assert size < by_row


def test_stays_near_the_entropy_without_structure():
    """Learning costs little: 20,000 independent symbols, 1.5 % above their entropy."""
    codes = sparse((100, 200), 20, 4, 9)
    _, counts = np.unique(codes, return_counts=True)
    entropy = -sum(int(n) * log2(n / codes.size) for n in counts)
    assert 8 * len(write([Quantised(codes, codebook(4, 4))], compiled=None)) < 1.015 * entropy + 300


def test_units_tell_of_the_next_layer():
    """Where the units with many inputs have many outputs, the second layer costs less."""
    busy = noise(80, 3) % 4 == 0
    first = sparse((80, 50), 4, 1, 1) + busy[:, None] * (1 - (noise(4000, 2).reshape(80, 50) % 2))
    second = np.where(busy, noise(3200, 4).reshape(40, 80) % 3 == 0, 0)
    grid = codebook(1, 2)
    first, second = Quantised(np.clip(first, -1, 2), grid), Quantised(second, grid)
    other = Quantised(first.codes[::-1][noise(80, 8).argsort()], grid)
    assert len(write([first, second])) + 8 < len(write([other, second]))


@given(st.lists(st.integers(0, MAX_LEVELS), max_size=30), st.integers(0, 3))
def test_numbers_round_trip(numbers, kinds):
    stream = Stream()
    coder = GridCoder(stream)
    for k, number in enumerate(numbers):
        coder.number(str(k % (kinds + 1)), number)
    back = Stream(stream.finish())
    coder = GridCoder(back)
    assert [coder.number(str(k % (kinds + 1))) for k in range(len(numbers))] == numbers
    back.check_end()


def test_numbers_are_bounded():
    stream = Stream()
    GridCoder(stream).number("any", 700)
    with pytest.raises(CorruptFile, match="over 500"):
        GridCoder(Stream(stream.finish())).number("any", limit=500)


def test_logarithms_are_exact():
    for value in (1, 2, 3, 7, 1000, 123456789):
        assert abs(context._log(value) / (1 << 24) - log(value)) < 1e-6


@pytest.mark.parametrize("module", [kernels, context, geometry, grids])
def test_no_floating_point_predicts(module):
    """The model's modules divide by // only, and call nothing of math but integer functions."""
    tree = ast.parse(Path(module.__file__).read_text())
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Div), ast.dump(node)
        if isinstance(node, ast.ImportFrom) and node.module == "math":
            assert {alias.name for alias in node.names} <= {"isqrt", "prod"}
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("exp", "log", "log2", "float64", "sqrt", "mean")
    floats = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is float]
    assert module is context or not floats  # context's are the constants that _fixed converts


def test_empty_codebook_round_trips():
    check([Quantised(np.zeros((3, 4), dtype=np.int32), Codebook(np.zeros(0), np.zeros(0)))])
