"""The stored statistics are those that the primer teaches."""

from bitsback.compression.describe_graph import learn
from bitsback.compression.graph_primed import FILE, after_primer, from_bytes, to_bytes
from bitsback.compression.graph_primer import PRIMER
from bitsback.compression.graph_symbols import REMEMBERED, State


def test_stored_statistics_are_those_of_the_primer():
    """Every integer: a file of version 4 would read as another network otherwise."""
    assert after_primer() == learn(PRIMER)


def test_dump_keeps_the_types_of_contexts():
    state = State(((0, "a"), (1, (b"\xff", None, ("x", 3)))), [1, 4097], [-5, 7], [9, 8], ["w"])
    assert from_bytes(to_bytes(state)) == state


def test_information_is_bounded():
    assert max(after_primer().seen) == REMEMBERED


def test_the_file_is_small():
    assert FILE.stat().st_size < 110_000
