"""Whole files: exact, read for ever, and every alteration refused within little time."""

import contextlib
import hashlib
import io
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from bitsback.compression import codec, file
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.errors import CorruptFile, UnsupportedVersion
from bitsback.compression.packed.dtypes import BY_NAME
from bitsback.compression.packed.header import COMMON, FAST_INTEGERS, INTEGERS, PLANES, Header, Item
from bitsback.compression.packed.integers import encode_integers
from bitsback.compression.packed.planes import deflate
from bitsback.compression.packed.reader import PackedReader
from bitsback.compression.packed.small import encode_small
from bitsback.compression.wire import varint
from hypothesis import given
from hypothesis import strategies as st

from ..forged import repaired
from ..test_file import mutate
from .samples import all_types, bits, packed, read, weights

GOLDEN = Path(__file__).parents[1] / "golden"


def forged(*items: Item, body: bytes = b"") -> bytes:
    """A file of this header and these bytes behind it, with a right checksum."""
    listed = Header(items, (), tuple(item.name for item in items), {}).to_bytes()
    deflated = deflate(listed)
    head = varint(len(listed)) + varint(len(deflated)) + deflated
    return repaired(codec.MAGIC + bytes([codec.PACKED]) + head + body + bytes(4))


def test_every_type_comes_back():
    tensors = all_types()
    assert read(packed(tensors)) == {name: bits(tensor) for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", ["packed.lossless", "packed.lossy", "packed.fast"])
def test_golden(name):
    """Files are read for ever to the same bits. Deflate streams may be written otherwise."""
    data = (GOLDEN / f"{name}.bb").read_bytes()
    known = json.loads((GOLDEN / "sha256.json").read_text())[name]
    version = codec.PACKED_FAST if name == "packed.fast" else codec.PACKED
    assert data[len(codec.MAGIC)] == version == (10 if name == "packed.fast" else 5)
    found = {key: hashlib.sha256(value).hexdigest() for key, value in read(data).items()}
    assert found == known
    forms = {item.form for item in PackedReader(io.BytesIO(data)).header.items}
    assert (
        forms - {COMMON}
        == {
            "packed.lossless": {PLANES},
            "packed.lossy": {INTEGERS},
            "packed.fast": {FAST_INTEGERS},
        }[name]
    )


@pytest.mark.parametrize("error", [None, 0.4])
def test_every_truncation_and_flipped_byte_is_noticed(error):
    data = packed(weights(), error)
    for length in [*range(0, 60), *range(60, len(data), 97)]:
        with pytest.raises(CorruptFile):
            read(data[:length])
    for place in range(0, len(data), 31):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises(CorruptFile):
            read(bytes(changed))


def fuzz(count: int, seed: int) -> None:
    """Mutated files with a right checksum raise CorruptFile or are read; nothing else."""
    chance = random.Random(seed)
    files = [packed(all_types()), packed(weights()), packed(weights(), 0.4)]
    files.append(packed(weights(), 0.4, "fast"))
    files = [data for data in files for _ in range(2)]
    for _ in range(count):
        data = chance.choice(files)
        cut = chance.choice([60, 300, len(data)])  # most faults near the front, where lengths are
        data = repaired(mutate(data[:cut], chance) + data[cut:])
        before = time.process_time()
        with contextlib.suppress(CorruptFile):
            file.inspect(data)
        assert time.process_time() - before < 5, data.hex()


def test_mutated_files():
    fuzz(250, 0)


@pytest.mark.slow
def test_many_mutated_files():
    fuzz(20_000, 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(CorruptFile):
        read(repaired(codec.MAGIC + bytes([codec.PACKED]) + data + bytes(4)))


FLOAT = BY_NAME["float32"]
ONE = Item("a", (1,), BY_NAME["uint8"], COMMON)
MATRIX = Item("a", (2, 2), FLOAT, INTEGERS)
SMALL = encode_small([ONE], [np.ones(1, np.uint8)])
STRIP = encode_integers(Quantised(np.ones((2, 2), np.int32), Uniform(1.0)))[1:]
PLANE = varint(2 * 9) + bytes(9)
MORE, DIFFERENT = "declares more", "small tensors but none"
HOSTILE = {
    "many integers": (Item("a", (1 << 14, 1 << 14), FLOAT, INTEGERS), b"\0" * 50, MORE),
    "many integers in a strip": (Item("a", (99, 999), FLOAT, INTEGERS), b"\0\5" + b"\0" * 50, MORE),
    "large planes": (Item("a", (1 << 30,), FLOAT, PLANES), b"\0" * 50, MORE),
    "a large common stream": (Item("a", (1 << 18,), FLOAT, COMMON), b"\5" + b"\0" * 5, "more than"),
    "a stream for nothing": (Item("a", (3, 3), FLOAT, PLANES), b"\1\0" + 4 * PLANE, DIFFERENT),
    "a strip of garbage": (Item("a", (99, 99), FLOAT, INTEGERS), b"\0\5\1\xfe\3\4\5", "stream"),
    "an empty strip": (MATRIX, b"\0\0", MORE),
    "a short strip": (MATRIX, b"\0\1\0", "coded stream"),
    "no byte for a stream": (ONE, b"\0", "coded stream"),
    "a byte behind the small ones": (ONE, bytes([len(SMALL) + 1]) + SMALL + b"\0", "does not end"),
    "a byte behind a strip": (
        MATRIX, b"\0" + bytes([len(STRIP) + 1]) + STRIP + b"\0", "does not end"
    ),
    "bytes behind the end": (Item("a", (0,), FLOAT, PLANES), b"\0\0", "too many"),
    "a bool of 2": (Item("a", (1,), BY_NAME["bool"], PLANES), b"\0\2\2", "not boolean"),
}  # fmt: skip


def test_forged_files_would_be_read_but_for_their_fault():
    assert read(forged(ONE, body=bytes([len(SMALL)]) + SMALL)) == {"a": b"\1"}
    strip = b"\0" + bytes([len(STRIP)]) + STRIP
    assert read(forged(MATRIX, body=strip)) == {"a": np.ones(4, np.float32).tobytes()}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_writer_makes_is_refused_soon(case):
    item, body, said = HOSTILE[case]
    before = time.process_time()
    with pytest.raises(CorruptFile, match=said):
        read(forged(item, body=body))
    assert time.process_time() - before < 2


def test_other_versions_are_named():
    data = bytearray(packed(weights()))
    data[len(codec.MAGIC)] = codec.VERSION + 1
    with pytest.raises(UnsupportedVersion, match="update"):
        read(repaired(bytes(data)))


def test_a_network_is_no_checkpoint_and_the_other_way_round():
    with pytest.raises(ValueError, match=r"use bitsback\.load"):
        read((GOLDEN / "dense.range.bb").read_bytes())
    with pytest.raises(ValueError, match=r"use bitsback\.unpack"):
        file.decode(packed(weights()))
