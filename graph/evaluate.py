"""What a graph computes at an example of its own making: shapes, and the values that never change."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .ir import INPUT, PARAMETER, Graph, Node, Ref
from .network import GraphNetwork, Values

BATCH = 2  # examples in the run that shapes are read off


class Evaluation:
    """One run of a network in eval mode on zeros.

    :param network: on any device; not changed, but for its mode during the run.
    """

    def __init__(self, network: GraphNetwork) -> None:
        self.graph: Graph = network.graph
        training = network.training
        network.eval()
        device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))
        try:
            with torch.no_grad():
                self._values = Values(network, zeros(self.graph, BATCH, device))
        finally:
            network.train(training)
        self._static = static_nodes(self.graph)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """The shape of a value at `BATCH` examples; () for a number."""
        value = self._values[ref]
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def is_static(self, ref: Ref) -> bool:
        """Whether a value is the same whatever the inputs."""
        return ref.node in self._static

    def is_tensor(self, ref: Ref) -> bool:
        """Whether a value is a tensor; else it is a number, a size."""
        return isinstance(self._values[ref], Tensor)

    def number(self, ref: Ref) -> int:
        """A size, at `BATCH` examples."""
        return self._values[ref]

    def static(self, ref: Ref) -> Tensor:
        """A static value."""
        assert ref.node in self._static
        return self._values[ref]

    def results(self, node: Node) -> int:
        """How many results a node has."""
        return self._values.count(node)


def zeros(graph: Graph, batch: int, device: torch.device | str = "cpu") -> list[Tensor]:
    """Inputs of a graph for a run that is about shapes."""
    return [
        torch.zeros(
            [batch if size is None else size for size in kind.shape],
            dtype=getattr(torch, kind.dtype),
            device=device,
        )
        for kind in graph.inputs
    ]


def static_nodes(graph: Graph) -> set[Node]:
    """The nodes whose values do not depend on the inputs."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.operator == PARAMETER or (
            node.operator != INPUT and all(ref.node in found for ref in node.refs())
        ):
            found.add(node)
    return found


def parameters_behind(graph: Graph) -> Mapping[Node, set[str]]:
    """The names of the parameters that each static node is computed from."""
    found: dict[Node, set[str]] = {}
    for node in graph.nodes:
        if node.operator == PARAMETER:
            found[node] = {node.name}
        elif node.operator != INPUT and all(ref.node in found for ref in node.refs()):
            found[node] = set().union(*(found[ref.node] for ref in node.refs()))
    return found
