"""What stands at the front of a packed file: names, shapes, element types, how each is coded.

As bytes, deflated in the file: the number of metadata entries, and their keys and values; the
number of tensors; of each the length of the prefix that its name shares with the name before, the
rest of the name, and a number. That number is 0 for another name of an earlier tensor, whose
place follows. Else it is 1 + 3 x element type + form, and the number of axes and the axes follow.
In version 10, which has a fourth form, it is 1 + 4 x element type + form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..errors import CorruptFile
from ..limits import MAX_DIMS, MAX_NAME, MAX_TENSORS, check_name, check_shape
from ..wire import MAX_COUNT, Reader, text, varint
from .dtypes import KINDS, LOSSY, Kind

COMMON, PLANES, INTEGERS, FAST_INTEGERS = range(4)
FORMS = 3  # of version 5, whose numbers have no fourth; version 10 has all
RESERVED = "__metadata__"
MAX_HEADER = 1 << 23  # bytes before deflating
MAX_METADATA = 1 << 16  # bytes of all keys and values
MAX_PACKED = 1 << 38  # bytes of all tensors together
MAX_TENSOR = 1 << 34  # bytes of one
MAX_COPIES = 64  # times the tensors' bytes that all names together may come to


@dataclass(frozen=True)
class Item:
    """One tensor of a packed file.

    :param form: `COMMON`: in the stream of small tensors; `PLANES`: by byte planes; `INTEGERS`:
        integers on a step (lossy); `FAST_INTEGERS`: those in the profile `fast`.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    form: int

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes when unpacked."""
        return self.count * self.kind.width


@dataclass(frozen=True)
class Header:
    """All of them, in order.

    :param ties: pairs (name, earlier name) of entries that are one tensor; the first is no item.
    :param order: all names, tied ones included.
    :param metadata: strings that a safetensors file had beside its tensors.
    """

    items: tuple[Item, ...]
    ties: tuple[tuple[str, str], ...]
    order: tuple[str, ...]
    metadata: Mapping[str, str]

    @property
    def fast(self) -> bool:
        """Whether any tensor is in the profile `fast`: then the file has version 10."""
        return any(item.form == FAST_INTEGERS for item in self.items)

    def to_bytes(self) -> bytes:
        """The header's bytes.

        :raises ValueError: it is beyond the format's limits.
        """
        self.check()
        out = [varint(len(self.metadata))]
        out += [text(part) for entry in self.metadata.items() for part in entry]
        out.append(varint(len(self.order)))
        items, ties = {item.name: item for item in self.items}, dict(self.ties)
        place, before = {name: k for k, name in enumerate(self.order)}, b""
        for name in self.order:
            encoded = name.encode()
            shared = _shared(encoded, before)
            out += [varint(shared), varint(len(encoded) - shared), encoded[shared:]]
            if name in ties:
                out += [varint(0), varint(place[ties[name]])]
            else:
                item = items[name]
                out.append(varint(1 + (FORMS + self.fast) * KINDS.index(item.kind) + item.form))
                out += [varint(len(item.shape)), *(varint(n) for n in item.shape)]
            before = encoded
        data = b"".join(out)
        if len(data) > MAX_HEADER:
            raise ValueError(f"names and shapes take {len(data)} bytes, more than {MAX_HEADER}")
        return data

    def check(self) -> None:
        """Raise ValueError if the header is beyond the format's limits."""
        if len(self.order) > MAX_TENSORS:
            raise ValueError(f"{len(self.order)} tensors are more than {MAX_TENSORS}")
        size = sum(len(part.encode()) for entry in self.metadata.items() for part in entry)
        if size > MAX_METADATA:
            raise ValueError(
                f"the metadata takes {size} bytes, more than {MAX_METADATA}: save the tensors "
                "without it"
            )
        for name in self.order:
            check_name(name)
            if name == RESERVED:
                raise ValueError(f"{RESERVED!r} is no name for a tensor: safetensors files use it")
        for item in self.items:
            check_shape(item.name, item.shape)
            if item.form in (INTEGERS, FAST_INTEGERS) and not (
                item.kind.name in LOSSY and is_matrix(item.shape)
            ):
                raise ValueError(f"{item.name!r} is said to be integers on a step, and cannot be")
            if item.size > MAX_TENSOR or max(item.shape, default=0) > MAX_COUNT:
                raise ValueError(f"{item.name!r} takes {item.size} bytes, more than {MAX_TENSOR}")
        sizes = {item.name: item.size for item in self.items}
        total, copies = sum(sizes.values()), sum(sizes[first] for _, first in self.ties)
        if total > MAX_PACKED:
            raise ValueError(f"the tensors take more than {MAX_PACKED} bytes")
        if total + copies > MAX_COPIES * total:
            raise ValueError(f"the names come to more than {MAX_COPIES} copies of the tensors")


def read_header(data: bytes, fast: bool = False) -> Header:
    """The inverse of `Header.to_bytes`, for untrusted bytes.

    :param fast: whether they are those of version 10.

    :raises CorruptFile: the bytes are no header within the limits.
    """
    try:
        header = _read(Reader(data), FORMS + fast)
        header.check()
    except CorruptFile:
        raise
    except ValueError as error:
        raise CorruptFile(f"the list of tensors in the file makes no sense: {error}") from None
    return header


def _read(reader: Reader, forms: int) -> Header:
    metadata = {}
    for _ in range(reader.varint(MAX_METADATA)):
        key = reader.text(MAX_METADATA)
        metadata[key] = reader.text(MAX_METADATA)
    items: list[Item] = []
    ties, order, name = [], [], b""
    for _ in range(reader.varint(MAX_TENSORS)):
        name = name[: reader.varint(len(name))] + reader.take(reader.varint(MAX_NAME))
        number = reader.varint(forms * len(KINDS))
        if number:
            kind, form = divmod(number - 1, forms)
            shape = tuple(reader.varint() for _ in range(reader.varint(MAX_DIMS)))
            items.append(Item(name.decode(), shape, KINDS[kind], form))
        elif order:
            ties.append((name.decode(), order[reader.varint(len(order) - 1)]))
        else:
            raise ValueError("the first tensor is said to be an earlier one")
        order.append(name.decode())
    reader.end()
    if len(set(order)) < len(order):
        raise ValueError("two tensors have one name")
    if not {first for _, first in ties}.isdisjoint(tied for tied, _ in ties):
        raise ValueError("a tensor is said to be another that is said to be a third")
    return Header(tuple(items), tuple(ties), tuple(order), metadata)


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Whether at least two axes are longer than 1, and none is 0."""
    return 0 not in shape and sum(n > 1 for n in shape) > 1


def _shared(name: bytes, before: bytes) -> int:
    """The length of the prefix that two names have in common."""
    pairs = zip(name, before, strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(name), len(before)))
