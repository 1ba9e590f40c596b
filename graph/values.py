"""Every value of a graph at some inputs: for analyses, not for training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .ir import INPUT, PARAMETER, Node, Ref
from .network import GraphNetwork, parameters_of
from .operators import Family
from .table import OPERATORS


class Values:
    """What each node of a network computes in eval mode, without gradients.

    :param network: not changed.
    :param inputs: in the order of the graph's inputs, on the network's device.
    """

    @torch.no_grad()
    def __init__(self, network: GraphNetwork, inputs: list[Tensor]) -> None:
        tensors, given = dict(parameters_of(network)), iter(inputs)
        self._values: dict[Node, Any] = {}
        for node in network.graph.nodes:
            if node.operator == INPUT:
                self._values[node] = next(given)
            elif node.operator == PARAMETER:
                self._values[node] = tensors[node.name]
            else:
                arguments = [self._given(value) for value in node.arguments.values()]
                row = OPERATORS[node.operator]
                if row.family is Family.FACTORY:
                    arguments.append(inputs[0].device if inputs else None)
                self._values[node] = row.call(*arguments)

    def __getitem__(self, ref: Ref) -> Any:
        value = self._values[ref.node]
        return value[ref.index] if isinstance(value, tuple | list) else value

    def count(self, node: Node) -> int:
        """How many results a node has."""
        value = self._values[node]
        return len(value) if isinstance(value, tuple | list) else 1

    def _given(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self[value]
        if isinstance(value, tuple):
            return tuple(map(self._given, value))
        return value
