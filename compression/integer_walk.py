"""The walk through a graph that makes an integer network: which layer holds which value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor, nn

from ..graph import GraphNetwork, Node, Ref
from ..graph.evaluate import static_nodes
from ..graph.network import parameters_of
from .deploy.shapes import Shapes


@dataclass(frozen=True)
class Meaning:
    """What the integers at a place stand for.

    :param scale: the value of 1, exact.
    :param reach: the largest magnitude.
    :param quantised: whether a layer of weights may take them: codes, or sums of few codes.
    """

    scale: Fraction
    reach: int
    quantised: bool


Form = Callable[["Walk", Node], None]
FORMS: dict[str, Form] = {}


def form(*operators: str) -> Callable[[Form], Form]:
    """Make a function the form of these rows."""

    def register(function: Form) -> Form:
        FORMS.update(dict.fromkeys(operators, function))
        return function

    return register


class Walk:
    """The layers so far, and which of them holds which value of the graph.

    :param shapes: of the graph's values; None where the inputs' shape is not known.
    :param by_paths: whether all layers are called by their modules' paths, and not only those that
        have weights: a decoded graph knows no others.
    """

    def __init__(self, network: GraphNetwork, shapes: Shapes | None, by_paths: bool) -> None:
        self.modules: dict[str, nn.Module] = {}
        self.sources: dict[str, tuple[str | int, ...]] = {}
        self._shapes, self._by_paths = shapes, by_paths
        self._tensors = dict(parameters_of(network))
        self._static = static_nodes(network.graph)
        self._places: dict[Ref, tuple[str, Meaning]] = {}

    def convert(self, node: Node) -> None:
        """Append what an operator becomes.

        :raises ValueError: it has no integer form: the end of a sentence about it.
        """
        if node in self._static:
            return
        found = FORMS.get(node.operator)
        if found is None:
            raise ValueError(
                f"computes {node.operator}, which has no integer form; convolutions, dense layers, "
                "quantised ReLUs, BatchNorm, pooling, additions and movements have one"
            )
        found(self, node)

    def place(self, ref: Ref) -> tuple[str, Meaning]:
        """The name of the layer that puts a value out, and what it means.

        :raises ValueError: the value is no result of integer layers.
        """
        if ref not in self._places:
            raise ValueError("takes a constant, which has no integer form there")
        return self._places[ref]

    def layer(
        self, result: Ref | None, name: str, module: nn.Module, sources: tuple[str | int, ...],
        meaning: Meaning,
    ) -> str:  # fmt: skip
        """Append a layer; its name."""
        stem = name = name.replace(".", "-") or "layer"
        number = 1
        while name in self.modules or (name == "logits" and result is not None):
            number += 1
            name = f"{stem}-{number}"
        self.modules[name], self.sources[name] = module, sources
        if result is not None:
            self._places[result] = (name, meaning)
        return name

    def put(self, node: Node, module: nn.Module, meaning: Meaning, *sources: str) -> None:
        """Append the layer that gives a node's only result."""
        self.layer(Ref(node), self.name(node), module, sources, meaning)

    def name(self, node: Node) -> str:
        """What the layers of a node are called."""
        if self._by_paths and node.scope:
            return node.scope
        weight = node.arguments.get("weight")
        path = weight.node.name.rpartition(".")[0] if isinstance(weight, Ref) else ""
        return path or node.operator

    def tensor(self, ref: Ref | None) -> Tensor | None:
        """The numbers of a parameter.

        :raises ValueError: it is computed by the network.
        """
        if ref is None:
            return None
        if ref.node.name not in self._tensors:
            raise ValueError("has weights that the network computes; fold them first")
        return self._tensors[ref.node.name].detach()

    def sizes(self, ref: Ref) -> tuple[int | None, ...]:
        """The shape of a value.

        :raises ValueError: the shape of the inputs is not known.
        """
        if self._shapes is None:
            raise ValueError("needs the size of its inputs: give the shape of one input (shape=)")
        return self._shapes.shape(ref)
