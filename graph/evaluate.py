"""What a graph computes at an example of its own making: shapes, and what never changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .ir import INPUT, PARAMETER, Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .operators import Family
from .table import OPERATORS

# Examples in the run that shapes are read off. A prime number, so that a reshape that mixes the
# batch with other axes is not taken for one that keeps it.
BATCH = 5
_SMALL, _SMALL_INPUT = 1 << 20, 10_000  # numbers in a network, and in one example
_MORE = 7  # examples in a second run, to see which sizes depend on the batch


class Evaluation:
    """One run of a network in eval mode.

    Values that depend on the inputs are of interest for their shapes only. In large networks they
    are computed on torch's meta device, so that feature maps take neither time nor memory; in small
    ones for good, which saves torch seconds of imports. All other values are computed for good.

    :param network: on any device; not changed.
    """

    def __init__(self, network: GraphNetwork) -> None:
        self.graph: Graph = network.graph
        self._static = static_nodes(self.graph)
        self._tensors = dict(parameters_of(network))
        self._device = next((t.device for t in self._tensors.values()), torch.device("cpu"))
        device = self._device if self._is_small() else torch.device("meta")
        with torch.no_grad():
            try:
                self._values = self._run(device, BATCH, {})
                self._more = self._run(device, _MORE, self._values)
            except (NotImplementedError, RuntimeError):  # no meta kernel, or no other batch
                self._values = self._run(self._device, BATCH, {})
                self._more = self._values

    def _is_small(self) -> bool:
        inputs = sum(math.prod(n or 1 for n in kind.shape) for kind in self.graph.inputs)
        numbers = sum(tensor.numel() for tensor in self._tensors.values())
        return inputs <= _SMALL_INPUT and numbers <= _SMALL

    def _run(
        self, device: torch.device | str, batch: int, static: Mapping[Node, Any]
    ) -> dict[Node, Any]:
        values: dict[Node, Any] = {}
        inputs = iter(zeros(self.graph, batch, device))
        for node in self.graph.nodes:
            if node.operator == INPUT:
                values[node] = next(inputs)
            elif node in static and node in self._static:
                values[node] = static[node]
            elif node.operator == PARAMETER:
                values[node] = self._tensors[node.name].detach()
            else:
                here = self._device if node in self._static else device
                values[node] = computed(node, values, here)
        return values

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """The shape of a value at `BATCH` examples; () for a number."""
        value = self._value(ref)
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def is_bool(self, ref: Ref) -> bool:
        """Whether a value is a tensor of flags."""
        return self._value(ref).dtype == torch.bool

    def batch_axes(self, ref: Ref) -> list[int]:
        """The axes whose size depends on the number of examples."""
        if self._more is self._values:  # there is no knowing
            return [d for d, size in enumerate(self.shape(ref)) if size and size % BATCH == 0]
        value = self._more[ref.node]
        value = value[ref.index] if isinstance(value, tuple | list) else value
        here = self.shape(ref)
        return [d for d, size in enumerate(here) if size != value.shape[d]]

    def is_static(self, ref: Ref) -> bool:
        """Whether a value is the same whatever the inputs."""
        return ref.node in self._static

    def is_tensor(self, ref: Ref) -> bool:
        """Whether a value is a tensor; else it is a number, a size."""
        return isinstance(self._value(ref), Tensor)

    def number(self, ref: Ref) -> int:
        """A size, at `BATCH` examples."""
        return self._value(ref)

    def static(self, ref: Ref) -> Tensor:
        """A static value, on the network's device."""
        assert ref.node in self._static
        return self._value(ref)

    def results(self, node: Node) -> int:
        """How many results a node has."""
        value = self._values[node]
        return len(value) if isinstance(value, tuple | list) else 1

    def recompute(
        self, node: Node, tensors: Mapping[Ref, Tensor], **changed: Any
    ) -> tuple[Tensor, ...]:
        """The results of a node of one kind of argument, tensors, at other tensors.

        :param changed: arguments that have another value.
        """

        def given(value: Any) -> Any:
            if isinstance(value, Ref):
                return tensors[value] if value in tensors else self.number(value)
            if isinstance(value, tuple):
                return tuple(map(given, value))
            return value

        arguments = [given(changed.get(name, v)) for name, v in node.arguments.items()]
        result = OPERATORS[node.operator].call(*arguments)
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    def _value(self, ref: Ref) -> Any:
        value = self._values[ref.node]
        return value[ref.index] if isinstance(value, tuple | list) else value


def computed(node: Node, values: Mapping[Node, Any], device: torch.device | str) -> Any:
    """What an operator gives, with all of its tensors on one device."""

    def given(value: Any) -> Any:
        if isinstance(value, Ref):
            found = values[value.node]
            found = found[value.index] if isinstance(found, tuple | list) else found
            return found.to(device) if isinstance(found, Tensor) else found
        if isinstance(value, tuple):
            return tuple(map(given, value))
        return value

    row = OPERATORS[node.operator]
    if row.name == "pick" and str(device) == "meta":  # its shape depends on the mask's values
        kept = values[node.arguments["kept"].node]
        source = given(node.arguments["input"])
        return source.new_empty([*source.shape[:-1], int(kept.sum())])
    arguments = [given(value) for value in node.arguments.values()]
    if row.family is Family.FACTORY:
        arguments.append(device)
    return row.call(*arguments)


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
