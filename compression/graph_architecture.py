"""A traced network in a file: `GraphArchitecture`, version 4 of the format.

As bytes it is one arithmetic-coded stream: the graph (`graph_section`), the names of its parameters
(`graph_names`), the lenders (`graph_lenders`), further names of tied parameters, and the label. The
stream's statistics begin with those of a few common networks (`graph_primer`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from ..graph import GraphNetwork, parameters_of, roles
from ..graph.ir import Graph, Node
from ..graph.table import OPERATORS
from .architecture import Architecture
from .archive import Quantised
from .errors import CorruptFile
from .graph_lenders import choose_lenders, code_lenders
from .graph_limits import DTYPES, MAX_NAME, MAX_NODES
from .graph_names import Names, check_names
from .graph_parts import Described, Entry, coding_order, ordered
from .graph_primer import PRIMER
from .graph_section import GraphCoder
from .graph_short import as_chain
from .graph_symbols import Symbols
from .nodes import DTYPES as STORED
from .nodes import TensorSpec
from .range_coder import Stream
from .short_form import short_form

VERSION = 4  # of the file format
_ROLES = {"weight": "weight", "vector": "bias", "mask": "mask", "raw": "raw"}


class GraphArchitecture:
    """A traced network without its numbers; has the methods of `architecture.Architecture`.

    :param described: what its file says.
    :param data: the bytes of it, if they are known.
    """

    root = None

    def __init__(self, described: Described, data: bytes | None = None) -> None:
        self.described = described
        self._data = data

    @property
    def label(self) -> str | None:
        """A short name of the network."""
        return self.described.label

    @property
    def ties(self) -> tuple[tuple[str, str], ...]:
        """Pairs (name, other name) of entries that are one and the same tensor."""
        return tuple(self.described.graph.aliases.items())

    def tensors(self) -> list[TensorSpec]:
        """The tensors that a file holds, in the order of the graph; tied ones once."""
        return [TensorSpec(e.node.name, e.shape, e.role, e.dtype) for e in self.described.entries]

    def swapped(self) -> frozenset[str]:
        """The tensors whose axis 1 the coder takes for the output units."""
        return frozenset(e.node.name for e in self.described.entries if e.is_swapped)

    def build(self) -> GraphNetwork:
        """A new network on the CPU, in eval mode, all tensors zero."""
        tensors: dict[str, Tensor] = {}
        for entry in self.described.entries:
            zeros = torch.zeros(entry.shape, dtype=getattr(torch, entry.dtype))
            tensors[entry.node.name] = nn.Parameter(zeros) if entry.trains else zeros
        return GraphNetwork(self.described.graph.copy(), tensors)

    def check(self, tensors: Mapping[str, Quantised | np.ndarray]) -> None:
        """Raise CorruptFile unless masks keep as many entries as the graph says."""
        for node, count in self.described.picked.items():
            name = node.arguments["kept"].node.name
            if int(np.count_nonzero(tensors[name])) != count:
                raise CorruptFile(f"{name!r} in the file does not keep {count} entries")

    def version(self) -> int:
        """The version of the file format."""
        return VERSION

    def to_bytes(self, version: int | None = None) -> bytes:
        """As the module's docstring says.

        :raises ValueError: for any other version, or the network is beyond the limits of a file.
        """
        if version not in (None, VERSION):
            raise ValueError(f"a traced network is in files of version {VERSION} only")
        if self._data is None:
            self._data, _ = write(self.described)
        return self._data

    @staticmethod
    def from_bytes(data: bytes, version: int | None = VERSION) -> GraphArchitecture:
        """The inverse of `to_bytes`, for untrusted bytes.

        :raises CorruptFile: it is no network within the limits.
        """
        data = bytes(data)
        try:
            return GraphArchitecture(read(data), data)
        except CorruptFile:
            raise
        except Exception as error:  # whatever a forged graph leads to
            raise CorruptFile(f"the graph in the file makes no sense: {error}") from None


def describe_graph(
    network: GraphNetwork, label: str | None = None
) -> GraphArchitecture | Architecture:
    """The architecture of a traced network; one of layers if it has a short form.

    :raises ValueError: it is beyond what a file can hold.
    """
    described = _described(network, label)
    chain = as_chain(described)
    if chain is not None and short_form(chain, label) is not None:
        return Architecture(chain, label=label)
    data, _ = write(described)  # at once, so that limits are met now
    return GraphArchitecture(described, data)


def write(
    described: Described, primed: bool = True, spent: Callable[[str, float], None] | None = None
) -> tuple[bytes, Described]:
    """The bytes of a network's description, and what a reader will make of them.

    :param spent: is told the bits of each part: graph, names, lenders, label.
    """
    stream = Stream()
    symbols = Symbols(stream, _primed() if primed else None)
    found = _code(symbols, described, spent and _meter(stream, spent))
    data = stream.finish()
    symbols.check_size(len(data))
    return data, found


def read(data: bytes, primed: bool = True) -> Described:
    """The description in bytes."""
    stream = Stream(data)
    found = _code(Symbols(stream, _primed() if primed else None, len(data)), None)
    stream.check_end()
    return found


def _meter(stream: Stream, spent: Callable[[str, float], None]) -> Callable[[str], None]:
    before = 0.0

    def charge(part: str) -> None:
        nonlocal before
        spent(part, stream.bits() - before)
        before = stream.bits()

    return charge


def _code(
    symbols: Symbols, source: Described | None, charge: Callable[[str], None] | None = None
) -> Described:
    """Write a description, or read one if `source` is None; returns the one that was coded."""
    charge = charge or (lambda part: None)
    found = GraphCoder(symbols, source).run()
    charge("graph")
    _code_names(symbols, source, found)
    charge("names")
    found.lenders = list(source.lenders) if source else []
    found.lenders = code_lenders(symbols, found)
    charge("lenders")
    label = source.label if source else None
    if symbols.flag(label is not None, ["label"]):
        found.label = symbols.word(label or "", MAX_NAME, ["label"])
    charge("label")
    return found


def _code_names(symbols: Symbols, source: Described | None, found: Described) -> None:
    names, given = Names(symbols), source.entries if source else []
    for place, entry in enumerate(found.entries):
        entry.node.name = names.code(given[place].node.name if given else "", entry)
        if entry.reader is not None and not entry.reader.scope:
            entry.reader.scope = entry.node.name.rpartition(".")[0]
    own = [entry.node.name for entry in found.entries]
    aliases = list(source.graph.aliases.items()) if source else []
    count = symbols.number(len(aliases), MAX_NODES, ["aliases"])
    for place in range(count):
        alias, name = aliases[place] if aliases else ("", "")
        at = symbols.number(own.index(name) if name else 0, max(len(own) - 1, 0), ["alias of"])
        entry = found.entries[at]
        alias = names.code(
            alias, Entry(entry.shape, entry.dtype, entry.role, entry.trains, entry.node)
        )
        if alias in found.graph.aliases:
            raise ValueError(f"{alias!r} is said twice to be the same as another")
        found.graph.aliases[alias] = own[at]
    check_names([*own, *found.graph.aliases])


@cache
def _primed() -> Symbols:
    """Symbols that know a few common networks."""
    stream = Stream(PRIMER)
    symbols = Symbols(stream, None, len(PRIMER))
    while symbols.flag(False, ["primer"]):
        _code(symbols, None)
    symbols.forget()
    return symbols


def make_primer(networks: list[tuple[GraphNetwork, str | None]]) -> bytes:
    """The bytes from which `_primed` learns these networks with their labels."""
    stream = Stream()
    symbols = Symbols(stream)
    for network, label in networks:
        symbols.flag(True, ["primer"])
        _code(symbols, _described(network, label))
    symbols.flag(False, ["primer"])
    return stream.finish()


def _described(network: GraphNetwork, label: str | None) -> Described:
    """What a file says of a traced network."""
    graph = _plain(network.graph)
    if len(graph.nodes) > MAX_NODES:
        raise ValueError(f"the graph has more than {MAX_NODES} nodes, too many for a file")
    tensors, role = dict(parameters_of(network)), roles(network)
    readers: dict[Node, tuple[Node, tuple[str, int]]] = {}
    for node in graph.operators:
        for argument in coding_order(OPERATORS[node.operator]):
            value = node.arguments[argument.name]
            for place, ref in enumerate(value if isinstance(value, tuple) else (value,)):
                if hasattr(ref, "node"):
                    readers.setdefault(ref.node, (node, (argument.name, place)))
    entries = []
    for node in graph.parameters:
        tensor = tensors[node.name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in STORED or dtype not in DTYPES:
            raise ValueError(
                f"{node.name!r} is {dtype}; a file holds tensors of {', '.join(STORED)}"
            )
        reader, argument = readers.get(node, (None, ("", 0)))
        trains = isinstance(tensor, nn.Parameter)
        shape = tuple(tensor.shape)
        entries.append(Entry(shape, dtype, _ROLES[role[node.name]], trains, node, reader, argument))
    check_names([*(node.name for node in graph.parameters), *graph.aliases])
    picked = {}
    for node in graph.operators:
        if node.operator == "pick":
            kept = node.arguments["kept"].node
            if kept.operator != "parameter":
                raise ValueError("a pick of a file takes a mask that is a buffer")
            picked[node] = int(torch.count_nonzero(tensors[kept.name]))
    described = Described(graph, entries, picked, [], label)
    described.lenders = choose_lenders(described)
    return described


def _plain(graph: Graph) -> Graph:
    """The graph without parameters that nothing reads, each before the first that reads it."""
    graph = ordered(graph)
    known = {node.name for node in graph.parameters}
    graph.aliases = {alias: name for alias, name in graph.aliases.items() if name in known}
    return graph
