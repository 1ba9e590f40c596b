"""The decoder in C gives what the Python decoder gives, and refuses what that refuses."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from bitsback.compression import (
    c_decoder,
    codec,
    context,
    grids,
    kernels,
    limits,
    sorted_rows,
)
from bitsback.compression.archive import MAX_LEVELS, Quantised, Uniform
from bitsback.compression.c_decoder import Call, decode_stream
from bitsback.compression.c_library import FOLDER, library
from bitsback.compression.coded import Coded
from bitsback.compression.context import Model
from bitsback.compression.errors import CorruptFile
from bitsback.compression.graph_lenders import LendingModel
from bitsback.compression.limits import decision_budget
from bitsback.compression.nodes import TensorSpec
from bitsback.compression.packed import integers
from bitsback.compression.range_coder import Stream
from hypothesis import given, settings
from hypothesis import strategies as st

from ..project import ROOT
from .compiler import needs_compiler
from .forged import repaired
from .samples import sparse

GOLDEN = Path(__file__).parent / "golden"
NETWORKS = sorted(path for path in GOLDEN.glob("*.bb") if "packed" not in path.name)
NETWORKS = [path for path in NETWORKS if ".fast." not in path.name]  # not in C
pytestmark = needs_compiler


def load_streams():
    path = ROOT / "benchmarks" / "streams.py"
    spec = importlib.util.spec_from_file_location("streams", path)
    module = sys.modules["streams"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


streams = load_streams()


def in_c(case):
    return decode_stream(case.tensors, case.stream, case.coder, case.is_sorted, 1 << 30)


@pytest.fixture
def always(monkeypatch):
    """However small a stream is, C decodes it; counts how often."""
    monkeypatch.setattr(codec, "USED_FROM", 0)
    monkeypatch.setattr(integers, "USED_FROM", 0)
    monkeypatch.setattr(c_decoder, "BUILT_FROM", 0)
    statuses = []
    run = Call.run

    def counted(self, *arguments):
        statuses.append(run(self, *arguments))
        return statuses[-1]

    monkeypatch.setattr(Call, "run", counted)
    return statuses


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.name)
def test_golden_files(path, always, monkeypatch):
    data = path.read_bytes()
    found = codec.decode(data)
    assert always == [c_decoder.OK]
    monkeypatch.setenv("BITSBACK_C", "0")
    monkeypatch.setattr(codec, "USED_FROM", 1 << 62)
    expected = codec.decode(data)
    assert always == [c_decoder.OK] and found.sorted == expected.sorted
    for name, tensor in expected.tensors.items():
        other = found.tensors[name]
        if isinstance(tensor, Quantised):
            assert tensor == other
        else:
            assert tensor.dtype == other.dtype and tensor.tobytes() == other.tobytes()


@settings(max_examples=80)
@given(st.integers(0, 1 << 30))
def test_any_stream(number):
    """Streams as a writer makes them and damaged ones: of one in thirty each."""
    case = next(streams.cases(1, number))
    assert streams.same(in_c(case), streams.reference(case))


@settings(max_examples=25)
@given(st.integers(0, 1 << 30))
def test_any_stream_of_a_writer(number):
    case = next(streams.cases(2, number // streams.EACH * streams.EACH))
    found = in_c(case)
    assert case.kind == "as written" and found is not None
    assert streams.same(found, streams.reference(case))


def one(codes: np.ndarray, groups: int = 0, coder: int = streams.RANGE) -> streams.Case:
    """The stream of one weight."""
    spec = TensorSpec("w", codes.shape, "weight", "float32")
    stream, predicts = Stream(), coder == streams.PREDICTING
    model = LendingModel([Coded(spec)], stream, lambda part: None, [groups], predicts)
    streams.code(model, spec, Quantised(codes, Uniform(1.0)))
    return streams.Case((Coded(spec),), model.finish(), coder, True, "one")


@pytest.mark.parametrize(("rows", "groups"), [(1024, 1), (700, 1), (2000, 2), (1500, 8), (2, 1)])
def test_large_groups_of_sorted_rows(rows, groups):
    """Orders that stand for a thousand bytes."""
    rng = np.random.default_rng(rows)
    codes = rng.integers(-1, 2, (rows, 11), dtype=np.int32)
    codes = codes[sorted_rows.in_order(codes, sorted_rows.group_size(rows, groups))]
    case = one(codes, groups)
    (tensor,), found = in_c(case)
    assert found == [groups] and np.array_equal(tensor.codes, codes)


def test_all_magnitudes_and_probabilities():
    """Long runs drive the statistics to both ends of what they can be."""
    codes = np.zeros((4, 40_000), dtype=np.int32)
    codes[1] = MAX_LEVELS
    codes[2, ::2] = -np.arange(20_000) - 1
    (tensor,), _ = in_c(one(codes))
    assert np.array_equal(tensor.codes, codes)


@pytest.mark.parametrize("scale", [1, 300, MAX_LEVELS / 4])
def test_predictions_of_every_size(scale):
    """Kernels that are smooth at first and alternate in sign later."""
    values = np.cumsum(np.random.default_rng(0).normal(size=(12, 9, 3, 3)), -1)
    values[6:, :, :, 1] *= -1
    codes = np.clip(np.rint(scale * values), -MAX_LEVELS, MAX_LEVELS).astype(np.int32)
    (tensor,), _ = in_c(one(codes, coder=streams.PREDICTING))
    assert np.array_equal(tensor.codes, codes)


def test_what_is_refused_is_said_in_the_words_of_python(always):
    data = bytearray((GOLDEN / "conv.range.bb").read_bytes())
    del data[-20:-4]
    with pytest.raises(CorruptFile, match="the coded stream ends before its symbols do"):
        codec.decode(repaired(bytes(data)))
    assert always == [c_decoder.CORRUPT]


def test_more_memory_is_taken_where_it_is_needed(monkeypatch):
    case = next(streams.cases(3))
    monkeypatch.setattr(Call, "_memory", lambda self: 64)
    assert streams.same(in_c(case), streams.reference(case))
    monkeypatch.setattr(c_decoder, "MOST_MEMORY", 64)
    assert in_c(case) is None


def test_strips_of_packed_checkpoints(always):
    rng = np.random.default_rng(0)
    tensor = Quantised(rng.integers(-9, 10, (30, 20), dtype=np.int32), Uniform(0.25))
    data = integers.encode_integers(tensor)
    assert integers._decode_in_c(data[2:], (30, 20)) == tensor
    assert integers._decode_in_c(data[3:], (30, 20)) is None
    assert always == [c_decoder.OK, c_decoder.CORRUPT]


@pytest.mark.parametrize("block", [912, 951])
def test_zeros_of_one_order_hold_another(block):
    """Bytes of an order lie beyond the end, and within them those of the next order."""
    case = streams.written(Random(f"1-{block}"))
    found = in_c(case)
    assert found is not None and streams.same(found, streams.reference(case))


def test_an_unknown_coder_is_refused():
    case = next(streams.cases(4))
    assert in_c(replace(case, coder=3)) is None


def test_without_a_library_python_decodes(monkeypatch):
    monkeypatch.setenv("BITSBACK_C", "0")
    library.cache_clear()
    monkeypatch.setattr(codec, "USED_FROM", 0)
    assert in_c(next(streams.cases(5))) is None
    assert codec.decode((GOLDEN / "conv.range.bb").read_bytes()).tensors
    library.cache_clear()


def refused(stream: bytes, shape: tuple[int, ...], role: str = "weight", coder: int = 0) -> bool:
    """Whether both refuse the stream of one tensor."""
    coded = Coded(TensorSpec("w", shape, role, "float32"))
    case = streams.Case((coded,), stream, coder, False, "forged")
    return in_c(case) is None and streams.reference(case) is None


@pytest.mark.parametrize(
    ("coder", "numbers"),
    [
        (0, [("kind", 0), ("first", 2 * 0x3D80 - 3), ("extent", 0), ("extent", 0)]),  # subnormal
        (0, [("kind", 1), ("levels", 2), ("first", 2 * (0x7F7F - 0x3D80)), ("rise", 0),
             ("levels", 0)]),
        (0, [("kind", 2), ("first", 0), ("shift", 1), ("shift", 1), ("extent", 0), ("extent", 0)]),
        (2, [("kind", 0), ("bits", 0), ("first", 2 * (0xFF - 0x7B)), ("extent", 0), ("extent", 0)]),
        (2, [("kind", 0), ("bits", 0), ("first", 2 * 0x7B - 1), ("extent", 0), ("extent", 0)]),
        (2, [("kind", 1), ("bits", 0), ("levels", 2), ("first", 2 * (0xFE - 0x7B)), ("rise", 0),
             ("levels", 0)]),
    ],
)  # fmt: skip
def test_grids_that_make_no_sense(coder, numbers):
    stream = Stream()
    model = Model(stream, predicts=coder == streams.PREDICTING)
    for number in numbers:
        limit = {"kind": 2, "shift": 12, "bits": 7}.get(number[0], 65_536)
        model._grids.number(*number, limit)
    model._codes((2, 1), 2, "weight", (0, 0), np.zeros((2, 1), dtype=np.int32))
    assert refused(stream.finish(), (2, 1), coder=coder)


def test_integers_beyond_their_grid():
    stream, grid = Stream(), Uniform(1.0, (0, 12))
    for value in (65_536, -65_536):
        tensor = Quantised(np.zeros((2, 1), dtype=np.int32), grid)
        tensor.codes[1, 0] = value
        with pytest.raises(CorruptFile):
            Model(stream := Stream()).tensor((2, 1), "weight", tensor)
        assert refused(stream.finish(), (2, 1))


def test_more_decisions_than_bytes_may_hold():
    shape = (1, 6_000_000)
    stream = Stream()
    Model(stream).tensor(shape, "weight", Quantised(np.ones(shape, dtype=np.int32), Uniform(1.0)))
    data = stream.cut(last=True)
    assert decision_budget(len(data)) < shape[1]
    case = streams.Case((Coded(TensorSpec("w", shape, "weight", "float32")),), data, 0, False, "")
    assert in_c(case) is None
    assert streams.reference(case, compiled=None) is None


def test_what_rows_lend_is_bounded():
    """Rows that are all zero after denser ones."""
    codes = np.zeros((160, 100), dtype=np.int32)
    codes[:40] = sparse((40, 100), 30, 7, 1)
    (tensor,), _ = in_c(one(codes))
    assert np.array_equal(tensor.codes, codes)


def test_constants_are_those_of_the_format():
    """Some of them move a probability so rarely that no stream here tells."""
    source = (FOLDER / "bitsback.h").read_text()
    numbers = set(map(int, re.findall(r"\b\d+\b", source)))
    assert f"(int64_t){kernels.LENT >> 24} << 24" in source
    for name in ("NEARBY", "DISTANT"):
        assert f"BB_{name} = {getattr(kernels, name) >> 16} << 16" in source
    assert {abs(context._fixed(weight, 24)) for weight in (-0.05, 0.1)} <= numbers
    assert (0.25, 0.25, -0.05, *[0.0] * 9, 0.1) == context.PREDICTION
    assert f"20 * BB_NEIGHBOURS * {1 << 16}" in source and context.ENERGY == 20 * 13
    assert f"slope = {context.SLOPE} << 24" in source
    assert f"slope_seen = {context.SLOPE_STIFFNESS} << 16" in source
    assert context._fixed(context.PREDICTED_STIFFNESS, 16) in numbers
    assert f"BB_STATES = {kernels.PREDICTED_STATES} " in source
    fixed = context._fixed
    log_odds = (context.NEAR, context.FAR, context.SIGN_NEAR, context.SIGN_FAR, *context.WEIGHTS)
    stiffness = (*context.STIFFNESS.values(), *context.VALUE_STIFFNESS.values())
    assert {fixed(value, 24) for value in log_odds} <= numbers
    assert {fixed(n, 16) for n in (*stiffness, context.OCTET_STIFFNESS)} <= numbers
    assert {grids.STIFFNESS, limits.MAX_SYMBOLS_PER_BYTE, limits.DECISIONS_PER_BYTE} <= numbers
