"""Safetensors files, written tensor by tensor.

The layout (github.com/huggingface/safetensors, "Format"): 8 bytes with the length of the header,
little-endian; the header in JSON, padded with spaces to a multiple of 8; the tensors' bytes. A file
that the safetensors library wrote, packed and unpacked, is the same file bit for bit.
"""

import json
from typing import BinaryIO

from .header import RESERVED, Header, Item
from .reader import PackedReader
from .writer import Progress


def write_safetensors(file: BinaryIO, reader: PackedReader, progress: Progress) -> None:
    """Write the tensors of a packed file. Names that are one tensor get a copy each."""
    first = dict(reader.header.ties)
    items = {item.name: item for item in reader.header.items}
    places = _places([(name, items[first.get(name, name)]) for name in reader.header.order])
    head = _head(reader.header, places, items)
    file.write(head)
    copies: dict[str, list[str]] = {item: [item] for item in items}
    for name, original in first.items():
        copies[original].append(name)
    total, done = sum(item.size for item in reader.header.items), 0
    for item, bits, _ in reader.tensors():
        progress(done, total, item.name)
        data = bits.astype(item.kind.unsigned.newbyteorder("<"), copy=False)
        for name in copies[item.name]:
            file.seek(len(head) + places[name][0])
            file.write(data)
        done += item.size


def _places(entries: list[tuple[str, Item]]) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes begin and end, by name, in the order of the bytes.

    Readers map the file into memory, so that each tensor must begin at a multiple of its width. If
    the packed file's order does not give that, wide types come first, as the library has it.
    """
    places = _in_order(entries)
    if any(places[name][0] % item.kind.width for name, item in entries):
        places = _in_order(sorted(entries, key=lambda entry: -entry[1].kind.width))
    return places


def _in_order(entries: list[tuple[str, Item]]) -> dict[str, tuple[int, int]]:
    places, at = {}, 0
    for name, item in entries:
        places[name] = (at, at + item.size)
        at += item.size
    return places


def _head(header: Header, places: dict[str, tuple[int, int]], items: dict[str, Item]) -> bytes:
    first = dict(header.ties)
    entries: dict[str, object] = {}
    if header.metadata:
        entries[RESERVED] = dict(header.metadata)
    for name, place in places.items():
        item = items[first.get(name, name)]
        entries[name] = {
            "dtype": item.kind.code, "shape": list(item.shape), "data_offsets": list(place),
        }  # fmt: skip
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
