"""What is refused, one by one: streams and descriptions that are wrong in a single thing."""

import numpy as np
import pytest
import torch
from bitsback.compression import codec, file, inspection, options
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.context import Model
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.grids import CODEBOOK, FIRST_PATTERN, SHIFTED, UNIFORM, GridCoder
from bitsback.compression.huffman import BitStream, Published, published_bits
from bitsback.compression.kernels import LOW, POS, TOP
from bitsback.compression.nodes import Chain, TensorSpec
from bitsback.compression.range_coder import Stream
from bitsback.compression.select import Select
from bitsback.compression.wire import varint
from torch import nn

from . import forged
from .samples import archive, codebook, dense_net, short_net

SUBNORMAL, LAST = 1, 0x7F7F  # patterns of a bfloat16: too small, and the largest that is finite


def folded(pattern: int) -> int:
    """The first number of a grid that begins at a pattern."""
    change = pattern - FIRST_PATTERN
    return 2 * change if change >= 0 else -2 * change - 1


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([("kind", CODEBOOK, SHIFTED), ("levels", 1), ("first", folded(SUBNORMAL)), ("levels", 0)],
         "a codebook in the file makes no sense"),
        ([("kind", CODEBOOK, SHIFTED), ("levels", 2), ("first", folded(LAST)), ("rise", 0)],
         "a value that is not finite"),
        ([("kind", UNIFORM, SHIFTED), ("first", folded(SUBNORMAL)), ("extent", 0), ("extent", 0)],
         "a grid in the file makes no sense"),
        ([("kind", UNIFORM, SHIFTED), ("first", folded(0))], "not finite and positive"),
        ([("kind", SHIFTED, SHIFTED), ("first", 0), ("shift", 14, 100)], "is over 12"),
        ([("kind", SHIFTED, SHIFTED), ("first", 0), ("shift", 90, 100)], "is over 12"),
        ([("kind", SHIFTED, SHIFTED), ("first", 0), ("shift", 1), ("extent", 0), ("extent", 0)],
         "must begin at 0"),
    ],
)  # fmt: skip
def test_grids(numbers, message):
    stream = Stream()
    coder = GridCoder(stream)
    for number in numbers:
        coder.number(*number)
    with pytest.raises(CorruptFile, match=message):
        GridCoder(Stream(stream.finish() + bytes(20))).code(1)


def test_codes_beyond_their_grid():
    """Those of a unit with a larger step have less room."""
    stream, grid = Stream(), Uniform(1.0, (0, 12))
    tensor = Quantised(np.zeros((2, 1), dtype=np.int32), grid)
    tensor.codes[1, 0] = 65_536
    with pytest.raises(CorruptFile, match="makes no sense: codes must lie in"):
        Model(stream).tensor((2, 1), "weight", tensor)
    with pytest.raises(CorruptFile, match="makes no sense: codes must lie in"):
        Model(Stream(stream.finish())).tensor((2, 1), "weight")


def test_nonzero_entries_without_values():
    stream = Stream()
    model = Model(stream)
    zeros, ones = np.zeros((2, 3), dtype=np.int32), np.ones((2, 3), dtype=np.int32)
    model._grids.code(2, Quantised(zeros, Uniform(1.0)))
    with pytest.raises(CorruptFile, match="without values"):
        model._codes((2, 3), 2, "weight", (0, 0), ones)
    with pytest.raises(CorruptFile, match="without values"):
        Model(Stream(stream.finish())).tensor((2, 3), "weight")


ONE, NONE = 0x3F80, [(0, 17), (0, 17)]  # a step of 1.0; no code but 0
EMPTY_TABLES = [(0, 32), (0, 2)]


@pytest.mark.parametrize(
    ("numbers", "role", "message"),
    [
        ([(0, 1), (SUBNORMAL, 16), *NONE], "bias", "a grid in the file makes no sense"),
        ([(0, 1), (ONE, 16), (0, 17), (131_071, 17), (131_071, 17)], "bias", "codes must lie"),
        ([(0, 1), (ONE, 16), (0, 17), (1, 17), (1, 32), *EMPTY_TABLES, (0, 40)], "weight",
         "has no meaning"),
    ],
)  # fmt: skip
def test_published(numbers, role, message):
    stream = BitStream()
    for value, width in numbers:
        stream.number(value, width)
    with pytest.raises(CorruptFile, match=message):
        Published(BitStream(stream.finish())).tensor((1,), role)


def test_a_published_weight_outside_its_tensor():
    stream, codes = BitStream(), np.zeros((1, 40), dtype=np.int32)
    codes[0, 35] = 1
    Published(stream).tensor((1, 40), "weight", Quantised(codes, Uniform(1.0)))
    with pytest.raises(CorruptFile, match="outside its tensor"):
        Published(BitStream(stream.finish())).tensor((1, 10), "weight")


def test_published_steps_of_units():
    tensor = Quantised(np.zeros((2, 2), dtype=np.int32), Uniform(1.0, (0, 1)))
    with pytest.raises(ValueError, match="use coder='small'"):
        Published(BitStream()).tensor((2, 2), "weight", tensor)


def test_published_bits_are_of_weights_alone():
    assert set(published_bits(archive(dense_net()))) == {"1.weight", "4.weight"}


@pytest.mark.parametrize("coder", file.CODERS)
def test_masks_of_any_shape(coder):
    architecture = forged.listed((3, 5), role="mask", dtype="bool")
    mask = np.arange(15).reshape(3, 5) % 2 == 0
    data = codec.encode(Archive(architecture, {"0": mask}), coder)
    assert np.array_equal(codec.decode(data).tensors["0"], mask)


@pytest.mark.parametrize("dtype", ["bool", "float32", "int16"])
def test_large_raw_tensors(dtype):
    architecture = forged.listed((70_000,), role="raw", dtype=dtype)
    source = (np.arange(70_000) % 2).astype(dtype)
    data = codec.encode(Archive(architecture, {"0": source}))
    assert np.array_equal(codec.decode(data).tensors["0"], source)
    assert inspection.inspect(data)["items"]["raw"] == source.nbytes
    with pytest.raises(CorruptFile, match="ends within tensor '0'"):
        codec.decode(forged.file(architecture, bytes(60_000)))
    if dtype == "bool":
        with pytest.raises(CorruptFile, match="tensor '0' in the file is not boolean"):
            codec.decode(forged.file(architecture, bytes([2]) * 70_000 + b"\0"))


def test_an_architecture_too_large():
    specs = [TensorSpec(f"{k}" + "x" * 490, (0,), "raw", "uint8") for k in range(3000)]
    large = Architecture(None, tuple(specs))
    tensors = {spec.name: np.zeros(0, dtype=np.uint8) for spec in specs}
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        codec.encode(Archive(large, tensors))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\2\0\0\0\0", "no format version 0"),
        (b"\1\x80\0\0\0\0\0", "the length of the architecture"),
        (b"\1\xff\xff\xff\xff\0\0\0\0", "the length of the architecture"),
    ],
)
def test_headers(data, message):
    with pytest.raises(CorruptFile, match=message):
        codec.decode(forged.repaired(codec.MAGIC + data + bytes(4)))


WEIGHT = TensorSpec("w", (1,), "weight", "float32")


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture(None, (WEIGHT, WEIGHT)), "two of one name"),
        (Architecture(None, (TensorSpec("w", (1,), "mask", "float32"),)), "float32 and a mask"),
        (Architecture(None, (TensorSpec("w", (1,), "weight", "bool"),)), "bool and a weight"),
        (Architecture(None, (TensorSpec("w", (1,), "weight", "int64"),)), "int64 and a weight"),
        (Architecture(None, (WEIGHT, TensorSpec("v", (1,), "weight", "float32")),
                      (("v", "w"), ("v", "w"))), "said twice"),
        (forged.chain(forged.linear(), names=("forward",)), "'forward' is no name for a layer"),
        (forged.chain(*[forged.chain(*[forged.layer(nn.ReLU)] * 3000).root] * 2), "4096 layers"),
    ],
)  # fmt: skip
def test_descriptions(architecture, message):
    with pytest.raises(CorruptFile, match=message):
        Architecture.from_bytes(architecture.to_bytes(1), 1)


def test_hooks_of_a_sequence_are_more_than_its_layers():
    net = nn.Sequential(nn.Linear(2, 2))
    net.register_forward_hook(lambda *_: None)
    assert describe(net).root is None


def test_a_sequence_with_another_in_it_has_no_short_form():
    root = describe(short_net(), "digits-mlp").root
    nested = Chain(("block1", *root.names), (Chain((), ()), *root.children))
    assert Architecture(nested, label="digits-mlp").version() == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (options.Count(), 0), (options.Count(), 1.0), (options.Axis(), 8), (options.Axis(), None),
        (options.Flag(True), 1), (options.Real(), float("nan")), (options.Real(), True),
        (options.Real(), "1"), (options.Step(), True), (options.Step(), 1e300),
        (options.Step(), 0.1), (options.Sizes(2), (1, 2, 3)), (options.Shape(), ()),
        (options.Shape(), (1,) * 9), (options.Choice(("a", "b")), "c"), (options.Padding(1), "all"),
    ],
)  # fmt: skip
def test_options(kind, value):
    with pytest.raises(ValueError, match=r"is not|is none of|does not have"):
        kind.check(value)


def test_small_things():
    with pytest.raises(ValueError, match="no negative number"):
        varint(-1)
    for kept in (torch.zeros(2), torch.zeros(2, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match="1-D bool tensor"):
            Select(kept)
    assert codebook(1, 1) != 3
    assert Quantised(np.zeros(1, dtype=np.int32), codebook(1, 1)) != 3


def test_the_last_carry_runs_through_bytes_of_255():
    stream = Stream()
    stream._buffer = bytearray([1, 255, 255])
    stream._state[POS], stream._state[LOW] = 3, (1 << TOP) - 1
    assert stream.finish() == bytes([2, 0, 0, 0])
