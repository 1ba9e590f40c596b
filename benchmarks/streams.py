"""Coded streams for two decoders: case k of a seed is always the same.

One in thirty is as a writer made it. The others are damaged: bits and bytes changed, parts cut out
or doubled, the table of tensors changed, or noise instead of a stream. There is no checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from random import Random

import numpy as np
from bitsback.compression import sorted_rows
from bitsback.compression.archive import Codebook, Quantised, Uniform, storable
from bitsback.compression.coded import Coded
from bitsback.compression.errors import CorruptFile
from bitsback.compression.graph_lenders import LendingModel
from bitsback.compression.huffman import BitStream, Published
from bitsback.compression.nodes import TensorSpec
from bitsback.compression.range_coder import Stream

RANGE, HUFFMAN, PREDICTING = range(3)  # numbers of the coders in C
EACH = 30  # cases made of one stream that a writer made
SIZES = (1, 1, 2, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 25, 40)
KERNELS = ((3, 3), (5, 5), (1, 1), (2, 3), (3,), (4,), (2, 2, 2))
Result = tuple[list, list[int]]  # the tensors, and of each weight in how many groups its rows are


@dataclass(frozen=True)
class Case:
    """A stream and what a decoder is told of it.

    :param coder: its number in C: 0 the range coder, 1 Huffman, 2 the range coder with predictions.
    :param kind: what was done to it.
    """

    tensors: tuple[Coded, ...]
    stream: bytes
    coder: int
    is_sorted: bool
    kind: str


def cases(seed: int, first: int = 0) -> Iterator[Case]:
    """Case `first` of a seed and all that follow."""
    block, skip = divmod(first, EACH)
    while True:
        random = Random(f"{seed}-{block}")
        whole = written(random)
        for number in range(EACH):
            case = whole if number == 0 else damaged(whole, random)
            if number >= skip:
                yield case
        block, skip = block + 1, 0


def reference(case: Case, compiled: bool | None = False) -> Result | None:
    """What the Python decoder makes of a case; None if it refuses the stream."""
    try:
        if case.coder == HUFFMAN:
            stream = BitStream(case.stream)
            model = Published(stream)
        else:
            stream = Stream(case.stream, compiled)
            groups = () if case.is_sorted else None
            model = _range_model(case.tensors, stream, groups, case.coder)
        if case.coder == HUFFMAN and case.is_sorted:
            return None
        found = [code(model, tensor.spec) for tensor in case.tensors]
        stream.check_end()
    except CorruptFile:
        return None
    weights = [tensor for tensor in case.tensors if tensor.spec.role == "weight"]
    return found, list(model.groups) if case.is_sorted else [0] * len(weights)


def _range_model(tensors, stream: Stream, groups, coder: int) -> LendingModel:
    return LendingModel(tensors, stream, lambda part: None, groups, coder == PREDICTING)


def code(model, spec: TensorSpec, tensor=None):
    """Write a tensor, or read it; raw ones as bytes."""
    if spec.role == "mask":
        return model.mask(prod(spec.shape), tensor).reshape(spec.shape)
    if spec.role == "raw":
        stride = np.dtype(spec.dtype).itemsize
        data = None if tensor is None else tensor.tobytes()
        return np.frombuffer(model.octets(prod(spec.shape) * stride, stride, data), np.uint8)
    return model.tensor(tuple(spec.shape), spec.role, tensor)


def same(one: Result | None, other: Result | None) -> bool:
    """Whether two decoders agree."""
    if one is None or other is None:
        return one is other
    return one[1] == other[1] and all(
        a == b if isinstance(a, Quantised) else a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(one[0], other[0], strict=True)
    )


def written(random: Random) -> Case:
    """A stream as a writer makes it."""
    coder = random.choices((RANGE, HUFFMAN, PREDICTING), (30, 15, 55))[0]
    is_sorted = coder != HUFFMAN and random.random() < 0.4
    tensors, values, groups = [], [], []
    for _ in range(random.choice((1, 1, 2, 3, 4, 6))):
        tensor, value = _tensor(random, tensors, values, coder)
        if tensor.spec.role == "weight":
            groups.append(0)
            if is_sorted:
                groups[-1], value = _sorted(random, tensor, value)
        tensors.append(tensor)
        values.append(value)
    stream = BitStream() if coder == HUFFMAN else Stream(compiled=False)
    if coder == HUFFMAN:
        model = Published(stream)
    else:
        given = groups if is_sorted else None
        model = _range_model(tensors, stream, given, coder)
    for tensor, value in zip(tensors, values, strict=True):
        code(model, tensor.spec, value)
    return Case(tuple(tensors), model.finish(), coder, is_sorted, "as written")


def _tensor(random: Random, before: list[Coded], values: list, coder: int):
    """One more tensor, and its values."""
    role = random.choice(("weight",) * 5 + ("bias", "bias", "mask", "raw"))
    shape = _shape(random, role, before, values)
    dtype = {"mask": "bool", "raw": random.choice(("float32", "int64", "uint8", "float16"))}
    spec = TensorSpec(str(len(before)), shape, role, dtype.get(role, "float32"))
    rng = np.random.default_rng(random.getrandbits(32))
    if role == "mask":
        return _lent(random, Coded(spec), before), rng.random(shape) < random.random()
    if role == "raw":
        data = rng.integers(0, 1 + random.choice((0, 3, 255)), prod(shape) * 8, dtype=np.uint8)
        size = prod(shape) * np.dtype(spec.dtype).itemsize
        return Coded(spec), data[:size]
    tensor = Coded(spec)
    if role == "weight":
        swapped = coder != HUFFMAN and len(shape) > 1 and random.random() < 0.1
        tensor = _lent(random, Coded(spec, swapped), before)
    return tensor, _quantised(random, rng, shape, coder == HUFFMAN)


def _shape(random: Random, role: str, before: list[Coded], values: list) -> tuple[int, ...]:
    if random.random() < 0.04:
        return random.choice(((), (0,), (0, 3), (3, 0), (2, 0, 4), (0, 0)))
    if role != "weight":
        return (random.choice((*SIZES, 64, 75, 100)),)
    rows, columns = random.choice(SIZES), random.choice((*SIZES, 48, 100))
    weights = [t.spec.shape for t in before if t.spec.role == "weight" and len(t.spec.shape) > 1]
    if before and before[-1].spec.role == "mask" and random.random() < 0.8:
        columns = int(np.count_nonzero(values[-1]))
    elif weights and random.random() < 0.6:
        columns = weights[-1][0] * random.choice((1, 1, 4, 9))
    kernel = random.choice(KERNELS) if random.random() < 0.35 else ()
    return random.choice(((rows, columns, *kernel),) * 9 + ((columns,),))


def _lent(random: Random, tensor: Coded, before: list[Coded]) -> Coded:
    """The tensor, maybe with lenders."""
    weights = sum(t.spec.role == "weight" for t in before)
    if random.random() < 0.7:
        return tensor
    count = random.choice((0, 1, 1, 2)) if weights else 0
    return replace(tensor, lenders=tuple(random.randrange(weights) for _ in range(count)))


def _quantised(random: Random, rng: np.random.Generator, shape: tuple, published: bool):
    levels = random.choice((0, 1, 1, 2, 3, 7, 30, 400, 1 << 16))
    density = random.choice((0.0, 0.02, 0.1, 0.4, 0.9, 1.0))
    codes = rng.integers(-levels if random.random() < 0.8 else 0, levels + 1, shape, dtype=np.int32)
    codes *= rng.random(shape) < density
    if random.random() < 0.3:
        codes = (
            np.abs(codes) if random.random() < 0.5 else np.sort(codes, axis=-1) if shape else codes
        )
    bits = random.choice((7, 7, 3, 0))
    if levels <= 30 and random.random() < 0.4:
        sides = [np.unique(storable(rng.random(levels + 1) + 0.01, bits)) for _ in range(2)]
        negative, positive = (side[: random.choice((levels, len(side)))] for side in sides)
        codes = np.clip(codes, -len(negative), len(positive))
        return Quantised(codes, Codebook(-negative[: len(negative)], positive))
    step = float(storable(2.0 ** random.uniform(-20, 4), bits))
    if not published and levels <= 7 and len(shape) > 1 and shape[0] and random.random() < 0.4:
        shifts = rng.integers(0, random.choice((2, 13)), shape[0])
        shifts[random.randrange(shape[0])] = 0
        return Quantised(codes, Uniform(step, tuple(map(int, shifts))))
    return Quantised(codes, Uniform(step))


def _sorted(random: Random, tensor: Coded, value: Quantised) -> tuple[int, Quantised]:
    """In how many groups the rows are sorted, and the tensor with such rows."""
    codes = value.codes
    if codes.ndim < 2 or not codes.size:
        return 0, value
    turned = codes.swapaxes(0, 1) if tensor.swapped else codes
    groups = random.choice((0, 1, 1, 1, 2, 4))
    rows = turned.reshape(len(turned), -1)
    if not groups or len(rows) < 2 * groups:
        return 0, value
    if random.random() < 0.2:
        rows = rows[np.arange(len(rows)) // 3]  # with equal ones
    order = sorted_rows.in_order(rows, sorted_rows.group_size(len(rows), groups))
    turned = rows[order].reshape(turned.shape)
    return groups, replace(value, codes=turned.swapaxes(0, 1) if tensor.swapped else turned)


def damaged(case: Case, random: Random) -> Case:
    """A case with something wrong in it, mostly."""
    change = random.choice(_CHANGES)
    return replace(change(case, random), kind=change.__name__.strip("_"))


def _bits(case: Case, random: Random) -> Case:
    data = bytearray(case.stream)
    for _ in range(random.choice((1, 1, 2, 5))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return replace(case, stream=bytes(data))


def _bytes(case: Case, random: Random) -> Case:
    data = bytearray(case.stream)
    start = random.randrange(len(data) + 1)
    for place in range(start, min(start + random.choice((1, 2, 8, 1000)), len(data))):
        data[place] = random.choice((0, 255, random.randrange(256)))
    return replace(case, stream=bytes(data))


def _parts(case: Case, random: Random) -> Case:
    data = case.stream
    a, b = sorted(random.randrange(len(data) + 1) for _ in range(2))
    made = random.choice((data[:a], data[a:], data[:a] + data[b:], data[:b] + data[a:]))
    return replace(case, stream=made + bytes(random.choice((0, 0, 1, 4, 9))))


def _noise(case: Case, random: Random) -> Case:
    return replace(case, stream=random.randbytes(random.choice((0, 1, 4, 5, 30, 300))))


def _table(case: Case, random: Random) -> Case:
    """Another shape, role or order of axes of one tensor."""
    tensors = list(case.tensors)
    place = random.randrange(len(tensors))
    old = tensors[place]
    shape = list(old.spec.shape)
    if shape:
        shape[random.randrange(len(shape))] = random.choice((0, 1, 2, 3, 7, 50))
    swapped = len(shape) > 1 and old.spec.role == "weight" and random.random() < 0.3
    spec = replace(old.spec, shape=tuple(shape))
    tensors[place] = replace(old, spec=spec, swapped=swapped and case.coder != HUFFMAN)
    return replace(case, tensors=tuple(tensors))


def _coder(case: Case, random: Random) -> Case:
    if random.random() < 0.5:
        return replace(case, is_sorted=not case.is_sorted)
    coder = (case.coder + random.choice((1, 2))) % 3
    if coder == HUFFMAN and any(tensor.swapped for tensor in case.tensors):
        return case
    return replace(case, coder=coder, is_sorted=False)


_CHANGES = (_bits, _bits, _bytes, _parts, _noise, _table, _table, _coder)
