"""Hostile and odd compressed files for the soak: input k of a seed is always the same bytes.

Half are made from files that a writer made (bytes changed, headers on other streams, layers and
sizes changed with all lengths and the checksum right), half from descriptions that no writer
makes, with any stream behind them. A share are files of traced networks (`hostile_graphs`) and
packed checkpoints (`hostile_packed`). Files have all versions, sorted rows and both profiles.
"""

import zlib
from random import Random
from typing import NamedTuple

import numpy as np
from bitsback.compression import codec, sorted_rows
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive, Codebook, Quantised, Uniform, storable
from bitsback.compression.layers import _REQUIRED, KINDS, Layer
from bitsback.compression.nodes import DTYPES, ROLES, Chain, TensorSpec
from bitsback.compression.options import Axis, Choice, Flag, Padding, Real, Shape, Sizes, Step
from bitsback.compression.short_form import TABLE
from bitsback.compression.wire import varint

BLOCK = 5_000  # inputs that share the files they are made from
SOURCES = 40  # such files
GRAPHS = 0.015  # the share of inputs made from files of traced networks
CHECKPOINTS = 0.1  # the share made from packed checkpoints
FORMS = ("small", "sorted", "huffman", "fast")
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 10, 64, 255, 1000, 1025, 5000, 1 << 16, 1 << 20, 1 << 24, 1 << 31)
WORDS = ("", "fc", "conv1", "a.b", "forward", "__class__", "to", "\x1b[2J", "[/red]", "é" * 300)


class File(NamedTuple):
    """A file in parts that fit each other."""

    version: int
    coder: int
    shapes: bytes
    body: bytes

    def data(self) -> bytes:
        number = varint(2 * len(self.shapes) + self.coder)
        return repaired(codec.MAGIC + bytes([self.version]) + number + self.shapes + self.body)


class Files(NamedTuple):
    """What the inputs of a block are made from."""

    written: list[File]
    graphs: list[File]
    references: list[File]
    packed: list[bytes]


def files(seed: int, block: int) -> Files:
    """The files of a block, the same each time."""
    import hostile_graphs
    import hostile_packed

    graphs = hostile_graphs.sources(seed, block)
    return Files(sources(seed, block), graphs, references(), hostile_packed.sources(seed, block))


def repaired(data: bytes) -> bytes:
    """The bytes with their checksum behind them."""
    return data + zlib.crc32(data).to_bytes(codec.CHECKSUM, "little")


def sources(seed: int, block: int) -> list[File]:
    """Files as a writer makes them."""
    chance = Random(f"{seed} sources {block}")
    found: list[File] = []
    while len(found) < SOURCES:
        architecture = described(chance, sane=True)
        form = chance.choice(FORMS)
        try:
            checked = Architecture.from_bytes(architecture.to_bytes(), architecture.version())
            archive = filled(checked, chance, shifts=form != "huffman")
            found.append(written(archive, form, chance))
        except ValueError:
            continue
    return found


def written(archive: Archive, form: str, chance: Random) -> File:
    """A file of an archive in one of `FORMS`.

    :raises ValueError: there is none.
    """
    if form == "sorted":
        archive = sorted_rows_of(archive, chance)
    data = codec.encode(archive, "small" if form == "sorted" else form)
    return parts(data, archive.architecture.to_bytes(), int(form == "huffman"))


def sorted_rows_of(archive: Archive, chance: Random) -> Archive:
    """The same with the rows of some weights sorted, in a few groups."""
    tensors, groups = dict(archive.tensors), {}
    for spec in archive.architecture.tensors():
        if spec.role != "weight" or not np.prod(spec.shape) or chance.random() < 0.2:
            continue
        rows, count = spec.shape[0] if len(spec.shape) > 1 else 1, 1 << chance.randrange(3)
        tensor = tensors[spec.name]
        if rows < 2 * count or getattr(tensor.grid, "shifts", ()):
            continue
        size = sorted_rows.group_size(rows, count)
        places = sorted_rows.in_order(tensor.codes.reshape(rows, -1), size)
        tensors[spec.name] = Quantised(tensor.codes[places], tensor.grid)
        groups[spec.name] = count
    return Archive(archive.architecture, tensors, groups)


def parts(data: bytes, shapes: bytes, coder: int) -> File:
    """A file in parts, given the bytes of its architecture and the coder's number."""
    head = len(codec.MAGIC) + 1 + len(varint(2 * len(shapes) + coder)) + len(shapes)
    return File(data[len(codec.MAGIC)], coder, shapes, data[head : -codec.CHECKSUM])


def hostile(seed: int, number: int, files: Files) -> tuple[str, bytes]:
    """What kind of input it is, and its bytes."""
    chance = Random(f"{seed} input {number}")
    if chance.random() < GRAPHS:
        return hostile_graph(chance, files.graphs)
    if chance.random() < CHECKPOINTS:
        import hostile_packed

        return hostile_packed.hostile(chance, files.packed)
    any_of = files.written + files.references
    file, other = chance.choice(any_of), chance.choice(any_of)
    kind = chance.random()
    if kind < 0.02:
        return "unchanged", chance.choice(files.written).data()
    if kind < 0.25:
        data = changed(file.data()[: -codec.CHECKSUM], chance)
        return "bytes", repaired(data)
    if kind < 0.4:
        return "checksum", changed(file.data(), chance)
    if kind < 0.47:
        return "spliced", file._replace(body=other.body, coder=chance.randrange(2)).data()
    if kind < 0.5:
        return "version", file._replace(version=chance.randrange(codec.VERSION + 2)).data()
    if kind < 0.6:
        return "shapes", file._replace(shapes=changed(file.shapes, chance)).data()
    if kind < 0.7:
        return "stream", file._replace(body=stream(chance)).data()
    try:
        shapes = described(chance, sane=chance.random() < 0.3).to_bytes(1)
    except (ValueError, OverflowError):
        shapes = file.shapes
    version = 1 + chance.choice([0, 0, codec.SORTED, codec.FAST, codec.PREDICTED])
    coder = chance.randrange(2) if version == 1 else 0
    body = stream(chance)
    if version == 1 + codec.FAST and chance.random() < 0.8:  # a part of it is the range coder's
        cut = chance.randint(0, min(len(body), 127))
        body = bytes([cut]) + body
    return "described", File(version, coder, shapes, body).data()


def hostile_graph(chance: Random, graphs: list[File]) -> tuple[str, bytes]:
    """The same of a traced network, whose description is a coded stream of its own.

    Any bytes behind the beginning of such a stream decode to operators and sizes that the decoder
    thinks likely, so that cutting and going on at random changes the structure.
    """
    file, other = chance.choice(graphs), chance.choice(graphs)
    kind, cut = chance.random(), chance.randrange(len(file.shapes) + 1)
    if kind < 0.05:
        return "graph unchanged", file.data()
    if kind < 0.35:
        return "graph bytes", repaired(changed(file.data()[: -codec.CHECKSUM], chance))
    if kind < 0.6:
        return "graph cut", file._replace(shapes=file.shapes[:cut] + stream(chance)[:40]).data()
    if kind < 0.8:
        return "graph shapes", file._replace(shapes=changed(file.shapes, chance)).data()
    if kind < 0.9:
        return "graph spliced", file._replace(body=other.body, coder=chance.randrange(2)).data()
    return "graph stream", file._replace(body=stream(chance)).data()


def changed(data: bytes, chance: Random) -> bytes:
    """A few bytes changed, inserted, removed, or copied elsewhere."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place, kind = chance.randrange(len(out) + 1), chance.randrange(5)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[place : place + 1] = bytes([chance.choice([0, 1, 127, 128, 255])])
        elif kind == 2:
            out[place:place] = chance.randbytes(chance.randint(1, 4))
        elif kind == 3:
            del out[place : place + chance.randint(1, 4)]
        elif out:
            start = chance.randrange(len(out))
            out[place : place + 4] = out[start : start + 4]
    return bytes(out)


def stream(chance: Random) -> bytes:
    """Random bytes, or long runs of one, which an arithmetic decoder takes for likely symbols."""
    size = chance.choice([0, 1, 2, 5, 20, 100, 1000])
    return (
        bytes([chance.choice([0, 255])]) * size if chance.random() < 0.4 else chance.randbytes(size)
    )


def described(chance: Random, sane: bool) -> Architecture:
    """A description: of a small network if `sane`, else of anything that can be written."""
    label = None if chance.random() < 0.7 else (chance.choice(WORDS[1:3]) if sane else word(chance))
    if chance.random() < 0.3:
        specs = listed(chance, sane)
        tied = not sane and len(specs) > 1 and chance.random() < 0.2
        ties = ((specs[1].name, specs[0].name),) if tied else ()
        return Architecture(None, specs, ties, label)
    if sane and chance.random() < 0.3:
        return sequence(chance, label)
    count = chance.choice([1, 1, 2, 3, 5, 30])
    return Architecture(nested(chance, sane, count), (), (), label)


def sequence(chance: Random, label: str | None) -> Architecture:
    """Dense layers that fit each other."""
    by_name = {kind.name: kind for kind in KINDS}
    width, layers = chance.choice([1, 3, 10, 64]), []
    for _ in range(chance.randint(1, 4)):
        units = chance.choice([1, 2, 5, 30])
        given = {"in_features": width, "out_features": units, "bias": chance.random() < 0.7}
        layers += [Layer(by_name["Linear"], given), Layer(by_name["ReLU"], {})]
        width = units
    names = tuple(map(str, range(len(layers))))
    return Architecture(Chain(names, tuple(layers)), (), (), label)


def nested(chance: Random, sane: bool, count: int, depth: int = 0) -> Chain:
    children = tuple(
        nested(chance, sane, 2, depth + 1)
        if chance.random() < (0.1 if sane else 0.3) and depth < 18
        else layer(chance, sane)
        for _ in range(count)
    )
    plain = tuple(map(str, range(count)))
    odd = tuple(word(chance) for _ in range(count))
    return Chain(odd if not sane and chance.random() < 0.3 else plain, children)


def layer(chance: Random, sane: bool) -> Layer:
    kind = chance.choice(KINDS)
    values = {}
    for option in kind.options:
        usual = option.default is not _REQUIRED and chance.random() < 0.6
        values[option.name] = (
            option.type.check(option.default) if usual else value(option.type, chance, sane)
        )
    return Layer(kind, values)


def value(kind: object, chance: Random, sane: bool):
    """A value for an option of a layer."""
    size = chance.randint(1, 8) if sane else chance.choice(SIZES)
    if isinstance(kind, Flag):
        return chance.random() < 0.5
    if isinstance(kind, Choice):
        return chance.choice(kind.words)
    if isinstance(kind, Axis):
        return chance.randint(-8, 7)
    if isinstance(kind, Real):
        return chance.choice([0.0, 0.1, 0.5, 1.0, 2.0, *([] if sane else [-1.0, 1e300, np.inf])])
    if isinstance(kind, Step):
        return chance.choice([0.5, 1.0, 2.0**-10])
    if isinstance(kind, Padding) and chance.random() < 0.3:
        return chance.choice(["same", "valid"])
    if isinstance(kind, Sizes | Padding):
        sizes = [size] * kind.dims if chance.random() < 0.6 else [*[size] * (kind.dims - 1), 1]
        return tuple(sizes)
    if isinstance(kind, Shape):
        return (size,) * chance.randint(1, 3)
    return size


def listed(chance: Random, sane: bool) -> tuple[TensorSpec, ...]:
    """Tensors of a network that no file rebuilds."""
    specs = []
    for number in range(chance.choice([1, 2, 4, 40])):
        sizes = (0, 1, 2, 3, 8, 20) if sane else SIZES
        shape = tuple(chance.choice(sizes) for _ in range(chance.randint(0, 3 if sane else 9)))
        role = chance.choice(ROLES)
        dtype = {"mask": "bool", "raw": chance.choice(DTYPES)}.get(role, "float32")
        dtype = dtype if sane or chance.random() < 0.9 else chance.choice(DTYPES)
        name = f"t{number}" if sane or chance.random() < 0.9 else word(chance)
        specs.append(TensorSpec(name, shape, role, dtype))
    return tuple(specs)


def word(chance: Random) -> str:
    return chance.choice(WORDS) + str(chance.randrange(3))


def filled(architecture: Architecture, chance: Random, shifts: bool) -> Archive:
    """An archive with made-up numbers.

    :raises ValueError: it would be larger than the soak has time for.
    """
    numbers = np.random.default_rng(chance.getrandbits(32))
    tensors = {}
    for spec in architecture.tensors():
        if np.prod(spec.shape, dtype=object) > 20_000:
            raise ValueError("too large")
        if spec.role in ("weight", "bias"):
            tensors[spec.name] = quantised(spec.shape, numbers, shifts)
        else:
            raw = numbers.integers(0, 2, spec.shape)
            tensors[spec.name] = np.asarray(raw).astype(spec.dtype)
    return Archive(architecture, tensors)


def quantised(shape: tuple[int, ...], numbers: np.random.Generator, shifts: bool) -> Quantised:
    codes = numbers.integers(-5, 6, shape) * (numbers.random(shape) < numbers.random())
    codes = np.asarray(codes).astype(np.int32)
    if numbers.random() < 0.5:
        values = storable(0.1 + 0.05 * np.arange(5))
        return Quantised(codes, Codebook(-values, values))
    units = numbers.integers(0, 3, shape[0]) if len(shape) > 1 and shape[0] else np.zeros(0, int)
    by_unit = tuple((units - units.min()).tolist()) if shifts and len(units) else ()
    return Quantised(codes, Uniform(float(storable(0.01)), by_unit))


def references() -> list[File]:
    """The short forms, and a long form of each network of the table."""
    return [File(1, 0, b"\0" + bytes.fromhex(shapes), b"\0") for _, shapes, _ in TABLE] + [
        File(version, 0, varint(16 + 8 * place) + b"\1" * 4, b"\0")
        for place, (_, _, version) in enumerate(TABLE)
    ]
