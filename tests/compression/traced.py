"""Traced networks of every kind for the tests of version 4 of the format."""

import copy
from functools import cache
from typing import Any

import torch
from bitsback.compression.archive import Archive
from bitsback.graph import Graph, GraphNetwork, Node, Ref, remove_units, trace
from bitsback.graph.ir import TensorType
from torch import nn

from ..graph.checks import kill
from ..graph.networks import make
from .samples import archive


@cache
def traced(name: str) -> tuple[GraphNetwork, Any]:
    """A network of the list as a graph, and its inputs."""
    net, x = make(name)
    return trace(net, x), x


@cache
def quantised(name: str) -> Archive:
    """An archive of made-up numbers for a network of the list."""
    return archive(traced(name)[0], label=name)


@cache
def smaller(name: str) -> Archive:
    """The same for a network of the list that has lost units of every kind."""
    network = copy.deepcopy(traced(name)[0])
    kill(network, 0.5, torch.Generator().manual_seed(3))
    reduction = remove_units(network)
    assert reduction.units
    return archive(reduction.network, label=name)


def graph_of(*operators: tuple[str, dict], shape: tuple[int | None, ...] = (None, 4)) -> Graph:
    """Operators in a line; each takes the result before it as its input."""
    nodes = [Node("input", name="0")]
    for operator, arguments in operators:
        arguments = {"input": Ref(nodes[-1]), **arguments}
        nodes += [r.node for r in Node("", arguments).refs() if r.node.operator == "parameter"]
        nodes.append(Node(operator, arguments))
    return Graph(nodes, (TensorType(shape, "float32"),), ((0,), {}), Ref(nodes[-1]))


def parameter(name: str) -> Ref:
    return Ref(Node("parameter", name=name))


def linear(name: str, inputs: int = 4, outputs: int = 3) -> GraphNetwork:
    """One dense layer whose weight has any name; made without tracing."""
    weight = nn.Parameter(torch.zeros(outputs, inputs))
    graph = graph_of(("linear", {"weight": parameter(name), "bias": None}))
    return GraphNetwork(graph, {name: weight})
