"""Reference networks in a few bytes: which of a fixed table, and the widths that are left.

`TABLE` is part of the file format: a place in it and its bytes never change, whatever networks the
workbench has; a label may have several. The first number is 16 + 8 * place + which Linear layers
have a Select before them (a bit each, the first the lowest); then, layer by layer, what the Select
lets through, and the output units, but for those of the last layer, which are the table's. Names
are the canonical ones.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import repeat

from .layers import CONV2D, LINEAR, SELECT, Layer
from .nodes import Chain, canonical_names, read_node
from .wire import Reader, varint

FIRST = 16  # the numbers below are flags of the long form
# Labels, `nodes.node_bytes` of the whole networks, the first version of the format that has them.
TABLE = (
    ("digits-mlp", "0019080140640a0164320a01320a", 2),
    ("lenet-300-100", "001908019006ac020a01ac02640a01640a", 2),
    ("lenet-5-caffe", "00210301140a1d040314320a1d040801a006f4030a01f4030a", 2),
    ("lenet-5-caffe-relu", "00290301140a0a1d040314320a0a1d040801a006f4030a01f4030a", 2),
    # Biases of its first convolution folded into those of the second.
    ("lenet-5-caffe", "00218301140a011d040314320a1d040801a006f4030a01f4030a", 3),
)
LARGEST = FIRST + 8 * len(TABLE) - 1


def short_form(root: Layer | Chain | None, label: str | None) -> tuple[int, bytes] | None:
    """The version of the format and the bytes of a network of the table with some units left out.

    :returns: None if it is no such network.
    """
    if not isinstance(root, Chain):
        return None
    selects, sizes, linear, selected = 0, [], 0, False
    weights = [layer for layer in root.children if _widths(layer)]
    for layer in root.children:
        if isinstance(layer, Layer) and layer.kind is SELECT:
            selected = True
        elif names := _widths(layer):
            if selected:
                selects |= 1 << linear
                sizes.append(layer.options[names[0]])
            if layer is not weights[-1]:
                sizes.append(layer.options[names[1]])
            linear += layer.kind is LINEAR
            selected = False
    for place, (name, _, version) in enumerate(TABLE):
        if name == label and _is(root, place, selects, sizes):
            return version, varint(FIRST + 8 * place + selects) + b"".join(map(varint, sizes))
    return None


def _is(root: Chain, place: int, selects: int, sizes: list[int]) -> bool:
    """Whether a network is that of the table at these widths."""
    try:
        return selects < 8 and _reduced(place, selects, iter(sizes)) == root
    except ValueError:  # wider than the table's
        return False


def read_short_form(reader: Reader, number: int) -> tuple[Chain, str]:
    """The network and its label, of a first number of at least `FIRST`; for untrusted bytes.

    :raises ValueError: for a width beyond the table's.
    """
    place, selects = divmod(number - FIRST, 8)
    sizes = (reader.varint() for _ in repeat(None))
    return _reduced(place, selects, sizes), TABLE[place][0]


def _reduced(place: int, selects: int, sizes: Iterator[int]) -> Chain:
    layers = tuple(_layers(_whole(place).children, selects, sizes))
    return Chain(canonical_names(layers), layers)


@cache
def _whole(place: int) -> Chain:
    """A network of the table at its own widths."""
    return read_node(Reader(bytes.fromhex(TABLE[place][1])))


def _layers(whole: Iterable[Layer], selects: int, sizes: Iterator[int]) -> Iterator[Layer]:
    """The layers of a network of the table at other widths, Selects among them."""
    last = [layer for layer in whole if _widths(layer)][-1]
    before = now = 1  # output units of the layer before: the table's, and those left
    for layer in whole:
        names = _widths(layer)
        if not names:
            yield layer
            continue
        inputs, outputs = (layer.options[name] for name in names)
        left = inputs // before * now
        if layer.kind is LINEAR:
            if selects & 1:
                yield Layer(SELECT, {"of": left})
                left = _size(sizes, left)
            selects >>= 1
        before, now = outputs, outputs if layer is last else _size(sizes, outputs)
        yield Layer(layer.kind, {**layer.options, names[0]: left, names[1]: now})


def _size(sizes: Iterator[int], most: int) -> int:
    size = next(sizes, 0)
    if not 1 <= size <= most:
        raise ValueError(f"a width of {size} is not within 1..{most}")
    return size


def _widths(layer: Layer | Chain) -> tuple[str, str] | None:
    """The options that hold a layer's inputs and outputs, if it has weights."""
    if not isinstance(layer, Layer):
        return None
    return {
        LINEAR.number: ("in_features", "out_features"),
        CONV2D.number: ("in_channels", "out_channels"),
    }.get(layer.kind.number)
