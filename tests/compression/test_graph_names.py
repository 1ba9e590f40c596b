"""Names of parameters: any come back, and those of a rule cost next to nothing."""

from bitsback.compression.graph_names import Names
from bitsback.compression.graph_parts import Entry
from bitsback.compression.graph_symbols import Symbols
from bitsback.compression.range_coder import Stream
from bitsback.graph import Node
from hypothesis import given, settings
from hypothesis import strategies as st

PARTS = st.sampled_from(["conv", "conv1", "layers", "0", "1", "12", "l01", "00", "a9", "ü", "bn2"])
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=5).map(".".join), max_size=8)


def coded(names: list[str], readers: list[Node | None]) -> tuple[list[str], int]:
    """Names through a stream and back, and how many bytes they took."""

    def entries() -> list[Entry]:
        node = Node("parameter")
        return [Entry((3,), "float32", "weight", True, node, r, ("weight", 0)) for r in readers]

    stream = Stream()
    coder = Names(Symbols(stream))
    for name, entry in zip(names, entries(), strict=True):
        coder.code(name, entry)
    data = stream.finish()
    stream = Stream(data)
    coder = Names(Symbols(stream, None, len(data)))
    found = [coder.code("", entry) for entry in entries()]
    stream.check_end()
    return found, len(data)


@settings(max_examples=50)
@given(NAMES)
def test_any_names(names):
    assert coded(names, [None] * len(names))[0] == names


def test_blocks_that_repeat_are_cheap():
    """Without the statistics that files begin with."""
    leaves = ("conv1.weight", "conv2.weight", "shortcut.0.weight")
    names = [f"layers.{i}.{leaf}" for i in range(40) for leaf in leaves]
    readers = [Node("conv2d", {"bias": None}) for _ in names]
    found, size = coded(names, readers)
    assert found == names and size < 100
