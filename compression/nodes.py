"""The parts of an architecture and their bytes: nested sequences of layers, or lists of tensors.

A layer is its kind byte and options (`layers.Layer.to_bytes`); a sequence is a 0, the varint
4 * number of children + naming, the children, and their names if explicit. A list of tensors
gives each name as the length of the prefix it shares with the one before and the rest of it,
then role and dtype in one number, then the shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .layers import Layer, read_layer
from .limits import MAX_DEPTH, MAX_DIMS, MAX_LAYERS, MAX_NAME, MAX_TENSORS, check_name, check_shape
from .taken_names import SEQUENTIAL
from .wire import Reader, decoded, text, varint

ROLES = ("weight", "bias", "raw", "mask")
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
FLOATS = ("float32", "float64", "float16")
_NUMBERED, _CANONICAL, _EXPLICIT = range(3)


@dataclass(frozen=True)
class TensorSpec:
    """One state_dict entry: its name, shape, role in the file (see `ROLES`) and torch dtype.

    The kernels of Linear and Conv layers are "weight", their biases "bias", Select's choice is
    "mask", and everything else is "raw": stored bit-exactly.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    dtype: str


@dataclass(frozen=True)
class Chain:
    """An nn.Sequential: its children in order, and their names."""

    names: tuple[str, ...]
    children: tuple["Layer | Chain", ...]


def walk(node: Layer | Chain, path: str, dtype: str) -> Iterator[TensorSpec]:
    """The state_dict entries below a node, in state_dict order."""
    if isinstance(node, Chain):
        for name, child in zip(node.names, node.children, strict=True):
            yield from walk(child, f"{path}{name}.", dtype)
        return
    for name, shape, role in node.tensors():
        kind = {"mask": "bool"}.get(role, "int64" if name == "num_batches_tracked" else dtype)
        yield TensorSpec(path + name, shape, role, kind)


def _usual_names(children: tuple[Layer | Chain, ...], naming: int) -> tuple[str, ...]:
    """The names that children have without saying so: "0", "1", ... or "conv1", "relu1", ...

    A Select is "select" in both, and takes no number from the others, so that inserting one
    changes no other name.
    """
    count: dict[str, int] = {}
    names = []
    for child in children:
        stem = child.kind.stem if isinstance(child, Layer) else "block"
        if naming == _NUMBERED and stem != "select":
            stem = ""
        number = count[stem] = count.get(stem, -1 if stem == "" else 0) + 1
        names.append(stem if stem in ("select", "flatten") and number == 1 else f"{stem}{number}")
    return tuple(names)


def canonical_names(children: tuple[Layer | Chain, ...]) -> tuple[str, ...]:
    """ "conv1", "relu1", ...: those of the reference networks."""
    return _usual_names(children, _CANONICAL)


def node_bytes(node: Layer | Chain) -> bytes:
    if isinstance(node, Layer):
        return node.to_bytes()
    usual = [_usual_names(node.children, naming) for naming in (_NUMBERED, _CANONICAL)]
    naming = usual.index(node.names) if node.names in usual else _EXPLICIT
    out = b"\0" + varint(4 * len(node.children) + naming)
    out += b"".join(node_bytes(child) for child in node.children)
    return out + b"".join(text(name) for name in node.names if naming == _EXPLICIT)


def read_node(reader: Reader) -> Layer | Chain:
    return _read_node(reader, 0, [MAX_LAYERS])


def _read_node(reader: Reader, depth: int, room: list[int]) -> Layer | Chain:
    """:param room: how many more layers there may be; counts down."""
    first = reader.take(1)[0]
    if first:
        return read_layer(reader, first)
    if depth == MAX_DEPTH:
        raise ValueError(f"sequences are nested more than {MAX_DEPTH} deep")
    count, naming = divmod(reader.varint(4 * MAX_LAYERS + 3), 4)
    room[0] -= count
    if room[0] < 0:
        raise ValueError(f"there are more than {MAX_LAYERS} layers")
    children = tuple(_read_node(reader, depth + 1, room) for _ in range(count))
    if naming == _EXPLICIT:
        names = tuple(reader.text(MAX_NAME) for _ in children)
    elif naming < _EXPLICIT:
        names = _usual_names(children, naming)
    else:
        raise ValueError("unknown way of naming layers")
    check_names(names)
    return Chain(names, children)


def check_nesting(node: Layer | Chain, depth: int = 0) -> int:
    """How many layers there are below a node.

    :raises ValueError: too many, or too deep for a file.
    """
    if isinstance(node, Layer):
        return 0
    if depth == MAX_DEPTH:
        raise ValueError(f"sequences are nested more than {MAX_DEPTH} deep")
    check_names(node.names)
    count = len(node.children) + sum(check_nesting(child, depth + 1) for child in node.children)
    if count > MAX_LAYERS:
        raise ValueError(f"there are more than {MAX_LAYERS} layers")
    return count


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names that the children of an nn.Sequential cannot have."""
    if len(set(names)) < len(names) or any(not name or "." in name for name in names):
        raise ValueError("names of layers must be unique and not empty, without dots")
    for name in names:
        if name in SEQUENTIAL:
            raise ValueError(f"{name!r} is no name for a layer: nn.Sequential has its own")


def specs_bytes(specs: tuple[TensorSpec, ...]) -> bytes:
    out, before = [varint(len(specs))], b""
    for spec in specs:
        name = spec.name.encode()
        shared = next(
            (i for i, (a, b) in enumerate(zip(name, before, strict=False)) if a != b),
            min(len(name), len(before)),
        )
        kind = ROLES.index(spec.role) * len(DTYPES) + DTYPES.index(spec.dtype)
        out += (varint(shared), varint(len(name) - shared), name[shared:], varint(kind))
        out += (varint(len(spec.shape)), *(varint(n) for n in spec.shape))
        before = name
    return b"".join(out)


def read_specs(reader: Reader) -> Iterator[TensorSpec]:
    name = b""
    for _ in range(reader.varint(MAX_TENSORS)):
        name = name[: reader.varint(len(name))] + reader.take(reader.varint(MAX_NAME))
        check_name(decoded(name))
        role, dtype = divmod(reader.varint(len(ROLES) * len(DTYPES) - 1), len(DTYPES))
        shape = tuple(reader.varint() for _ in range(reader.varint(MAX_DIMS)))
        check_shape(name.decode(), shape)
        yield TensorSpec(name.decode(), shape, ROLES[role], DTYPES[dtype])
