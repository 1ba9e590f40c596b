"""The architecture of a traced network, read off its graph and its tensors."""

from __future__ import annotations

import torch
from torch import nn

from ..common.modules import instead_of
from ..graph import GraphNetwork, parameters_of, roles
from ..graph.ir import Graph, Node
from ..graph.table import OPERATORS
from .architecture import Architecture
from .graph_architecture import GraphArchitecture, code, write
from .graph_lenders import choose_lenders
from .graph_limits import DTYPES, MAX_NODES
from .graph_names import check_names
from .graph_parts import Described, Entry, coding_order, ordered
from .graph_short import as_chain
from .graph_symbols import State, Symbols
from .nodes import DTYPES as STORED
from .range_coder import Stream
from .short_form import short_form

_ROLES = {"weight": "weight", "vector": "bias", "mask": "mask", "raw": "raw"}


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


def make_primer(networks: list[tuple[GraphNetwork, str | None]]) -> bytes:
    """The bytes from which `learn` knows these networks with their labels."""
    stream = Stream()
    symbols = Symbols(stream)
    for network, label in networks:
        symbols.flag(True, ["primer"])
        code(symbols, _described(network, label))
    symbols.flag(False, ["primer"])
    return stream.finish()


def learn(primer: bytes) -> State:
    """The statistics that graph sections begin with: those after the networks of a primer."""
    symbols = Symbols(Stream(primer), None, len(primer))
    while symbols.flag(False, ["primer"]):
        code(symbols, None)
    return symbols.state()


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
                f"{instead_of(tensor.dtype)}"
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
