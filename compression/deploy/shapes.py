"""Shapes, dtypes and constants of a network's values, read off runs at several sizes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ...graph import GraphNetwork, Node, Ref
from ...graph.evaluate import static_nodes, zeros
from ...graph.parameter_roles import WEIGHT, roles
from ...graph.values import Values

Size = int | None
BATCHES = (2, 3)


class Shapes:
    """What is known of each value whatever the batch.

    :param network: on the CPU; run in eval mode on zeros.
    :param is_open: whether the sizes behind batch and channels may be others than the graph's
        inputs have: they count as unknown, in all values.
    """

    def __init__(self, network: GraphNetwork, is_open: bool = False) -> None:
        self.graph, self.is_open = network.graph, is_open
        self.weights = {name for name, role in roles(network).items() if role == WEIGHT}
        self._static = static_nodes(network.graph)
        self._users = network.graph.users()
        self._shapes: dict[Ref, list[tuple[int, ...]]] = {}
        self._dtypes: dict[Ref, torch.dtype] = {}
        self._values: dict[Ref, Any] = {}
        self._counts: dict[Node, int] = {}
        training = network.training
        network.eval()
        try:
            for batch in BATCHES:
                with torch.no_grad():
                    self._note(Values(network, self.inputs(batch)))
        finally:
            network.train(training)

    def inputs(self, batch: int) -> list[Tensor]:
        """Zeros of a batch size."""
        return zeros(self.graph, batch)

    def _note(self, values: Values) -> None:
        for node in self.graph.nodes:
            self._counts[node] = values.count(node)
            for index in range(self._counts[node]):
                ref = Ref(node, index)
                value = values[ref]
                tensor = isinstance(value, Tensor)
                self._shapes.setdefault(ref, []).append(tuple(value.shape) if tensor else ())
                self._dtypes[ref] = value.dtype if tensor else torch.int64
                if node in self._static:
                    self._values[ref] = value

    def shape(self, ref: Ref) -> tuple[Size, ...]:
        """Sizes; None for those that differ between runs."""
        first, second = self._shapes[ref]
        opened = self.is_open and ref.node not in self._static
        return tuple(
            None if a != b or (opened and axis >= 2) else a
            for axis, (a, b) in enumerate(zip(first, second, strict=True))
        )

    def is_batch(self, ref: Ref, axis: int) -> bool:
        """Whether an axis has the size of the batch in every run."""
        found = zip(self._shapes[ref], BATCHES, strict=True)
        return all(shape[axis] == batch for shape, batch in found)

    def dtype(self, ref: Ref) -> torch.dtype:
        return self._dtypes[ref]

    def count(self, node: Node) -> int:
        """How many results a node has."""
        return self._counts[node]

    def is_shared(self, ref: Ref) -> bool:
        """Whether several operators take a value."""
        return len(self._users[ref.node]) > 1

    def static(self, ref: Ref) -> Any:
        """A value that is the same whatever the inputs; None for others."""
        return self._values.get(ref)


def on_cpu(network: GraphNetwork) -> GraphNetwork:
    """The network, or a copy on the CPU if it is elsewhere."""
    if all(tensor.device.type == "cpu" for tensor in network.state_dict().values()):
        return network
    return copy.deepcopy(network).cpu()
