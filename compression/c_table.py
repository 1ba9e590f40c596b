"""A header for C programs: the decoder, and what it has to be told of one network."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from math import prod

from .c_decoder import LENT_BY_LAST, OK, Call
from .c_library import FOLDER, library
from .codec import NUMBERED, decode, open_file, plain_size
from .coded import Coded, coded_tensors

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._- ")


def c_header(data: bytes) -> str:
    """`bitsback.h` and the table of the network in a file; see docs/c-decoder.md.

    The table fits every file of the same network, that is of the same layers, sizes and names.

    :param data: the bytes of the file.
    :raises CorruptFile: the file is damaged.
    :raises ValueError: it is a packed checkpoint, or in the profile `fast`. Or there is no C
        compiler, without which nobody can say how much memory the decoder needs.
    """
    opened = open_file(data)
    if opened.coder not in NUMBERED:
        raise ValueError(
            f"the decoder in C does not read the profile {opened.coder!r}: write the file with "
            "coder='small'"
        )
    tensors = coded_tensors(opened.architecture, opened.architecture.tensors())
    if (found := library(build=True)) is None:
        raise ValueError("the decoder in C cannot be built here: install a C compiler, as cc")
    call = Call(tensors)
    stream = opened.body[plain_size(opened.architecture) :]
    if call.run(found, stream, opened.in_c, opened.is_sorted) != OK:
        decode(data)  # says what is wrong
        raise ValueError("the decoder in C does not read this file")
    decoder = (FOLDER / "bitsback.h").read_text()
    return decoder + "\n".join(_table(tensors, zlib.crc32(opened.shapes), call.needed)) + "\n"


def _table(tensors: Sequence[Coded], checksum: int, memory: int) -> Iterator[str]:
    """The lines behind the decoder."""
    yield "\n/* One network: what bb_decode has to know of it, and the bytes that it takes. */"
    sizes = [-(-prod(t.spec.shape) * (t.item or 4) // 8) * 8 for t in tensors]  # as bb_lay_out
    counts = (("TENSORS", len(tensors)), ("DATA", sum(sizes)), ("MEMORY", memory))
    yield f"enum {{ {', '.join(f'NET_{name} = {count}' for name, count in counts)} }};"
    for place, tensor in enumerate(tensors):
        if tensor.lenders:
            lenders = ", ".join(map(str, tensor.lenders))
            yield f"static const uint16_t net_lender_{place}[] = {{{lenders}}};"
    yield "static const bb_tensor net_tensors[] = {"
    yield from (f"    {_row(place, tensor)}," for place, tensor in enumerate(tensors))
    yield "};"
    yield f"static const bb_network net = {{net_tensors, NET_TENSORS, {checksum:#x}u}};"


def _row(place: int, tensor: Coded) -> str:
    """One element of the table, in the order of `bb_tensor`."""
    spec, lenders = tensor.spec, tensor.lenders
    name = "".join(c if c in _PLAIN else _octal(c) for c in spec.name)
    lender = f"net_lender_{place}" if lenders else "NULL"
    count = LENT_BY_LAST if lenders is None else len(lenders)
    shape, role = ", ".join(map(str, spec.shape or (0,))), f"BB_{spec.role.upper()}"
    numbers = f"{count}, {len(spec.shape)}, {role}, {tensor.item}, {int(tensor.swapped)}"
    return f'{{"{name}", {lender}, {{{shape}}}, {numbers}}}'


def _octal(character: str) -> str:
    return "".join(f"\\{octet:03o}" for octet in character.encode())
