"""Names, shapes and metadata come back; what is beyond the limits is refused in both directions."""

import pytest
from bitsback.compression.errors import CorruptFile
from bitsback.compression.packed import header
from bitsback.compression.packed.dtypes import BY_NAME, KINDS
from bitsback.compression.packed.header import COMMON, INTEGERS, PLANES, Header, Item, read_header
from bitsback.compression.wire import varint
from hypothesis import given
from hypothesis import strategies as st


def of(*items: Item, ties=(), metadata=None) -> Header:
    order = (*(item.name for item in items), *(name for name, _ in ties))
    return Header(items, ties, order, metadata or {})


@given(
    st.dictionaries(st.text(min_size=1, max_size=9), st.integers(0, len(KINDS) - 1), max_size=9),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
)
def test_round_trip(kinds, metadata):
    items = [Item(name, (2, 3), KINDS[k], k % 2) for name, k in kinds.items()]
    ties = ((items[0].name + "2", items[0].name),) if len(items) == 1 else ()
    found = read_header(of(*items, ties=ties, metadata=metadata).to_bytes())
    assert found == of(*items, ties=ties, metadata=metadata)
    assert list(found.metadata) == list(metadata)


FLOAT = BY_NAME["float32"]
BEYOND = {
    "too many axes": Item("a", (1,) * 9, FLOAT, PLANES),
    "too large": Item("a", (1 << 20, 1 << 20), FLOAT, PLANES),
    "empty beside large axes": Item("a", (0, 1 << 30), FLOAT, PLANES),
    "integers of a vector": Item("a", (1, 9), FLOAT, INTEGERS),
    "integers of an empty tensor": Item("a", (0, 9, 9), FLOAT, INTEGERS),
    "integers of integers": Item("a", (9, 9), BY_NAME["int8"], INTEGERS),
    "long name": Item("a" * 513, (1,), FLOAT, COMMON),
    "empty name": Item("", (1,), FLOAT, COMMON),
    "reserved name": Item("__metadata__", (1,), FLOAT, COMMON),
}


@pytest.mark.parametrize("case", BEYOND)
def test_limits_hold_in_both_directions(case, monkeypatch):
    with pytest.raises(ValueError):
        of(BEYOND[case]).to_bytes()
    monkeypatch.setattr(Header, "check", lambda self: None)
    data = of(BEYOND[case]).to_bytes()
    monkeypatch.undo()
    with pytest.raises(CorruptFile):
        read_header(data)


def test_metadata_has_a_limit():
    with pytest.raises(ValueError, match="metadata takes"):
        of(metadata={"key": "x" * header.MAX_METADATA}).to_bytes()


def test_tied_names_have_a_limit():
    ties = tuple((f"a{k}", "a") for k in range(header.MAX_COPIES))
    of(Item("a", (9,), FLOAT, PLANES), ties=ties[1:]).to_bytes()
    with pytest.raises(ValueError, match="64 copies"):
        of(Item("a", (9,), FLOAT, PLANES), ties=ties).to_bytes()


A = b"\x00\x01a"  # a name that shares nothing and is called "a"


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "a tie to nothing": b"\x00\x01" + A + b"\x00\x00",
        "a tie to itself": b"\x00\x02" + A + b"\x01\x00" + b"\x01\x01b" + b"\x00\x01",
        "a tie to a tie": b"\x00\x03" + A + b"\x01\x00\x01\x01b\x00\x00\x02\x01c\x00\x01",
        "one name twice": b"\x00\x02" + A + b"\x01\x00" + b"\x01\x00" + b"\x01\x00",
        "an unknown type": b"\x00\x01" + A + varint(1 + 3 * len(KINDS)) + b"\x00",
        "a name that is not UTF-8": b"\x00\x01\x00\x01\xff\x01\x00",
        "bytes behind the end": b"\x00\x00\x00",
        "a number not in its shortest form": b"\x00\x80\x00",
    }.items(),
    ids=lambda case: case[0],
)
def test_nonsense_is_refused(data):
    with pytest.raises(CorruptFile):
        read_header(data[1])
