"""Where a network multiplies its parameters by vectors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .evaluate import static_nodes
from .ir import PARAMETER, Node, Ref, map_refs
from .network import GraphNetwork, parameters_of
from .operators import Family
from .parameter_roles import WEIGHT, roles
from .products import Product, as_matrix
from .table import OPERATORS


@dataclass(frozen=True)
class Use:
    """A product whose weight is a parameter, or some of its rows.

    :param name: of the parameter.
    :param product: with the groups and the axis of the units as the parameter itself has them.
    :param rows: those of the parameter's first axis that are the product's weight; None: all.
    """

    name: str
    product: Product
    rows: range | None = None


class Uses:
    """The products of a network's parameters.

    :param names: parameters of interest; None: all weights (see `roles`).
    :raises ValueError: an unknown name.
    """

    def __init__(self, network: GraphNetwork, names: Collection[str] | None = None) -> None:
        self._shapes = {name: tensor.shape for name, tensor in parameters_of(network)}
        self.static = static_nodes(network.graph)
        self._behind = _moved_parameters(network)
        self._matched: dict[tuple[Ref, int, bool], tuple[bool, range | None] | None] = {}
        readers: dict[str, list[Node]] = {name: [] for name in self._shapes}
        for node in network.graph.operators:
            if node not in self._behind:
                for name in {self._behind[r.node] for r in node.refs() if r.node in self._behind}:
                    readers[name].append(node)
        if names is None:
            names = [name for name, role in roles(network).items() if role == WEIGHT]
        unknown = [name for name in names if name not in self._shapes]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is no parameter of the traced network, which has: "
                f"{', '.join(self._shapes)}"
            )
        #: The operators that read each parameter.
        self.readers = {name: readers[name] for name in names}
        #: The operators that multiply one by vectors.
        self.nodes = {n for found in self.readers.values() for n in found if _multiplies(n)}
        self._seen: set[tuple[str, Node]] = set()

    def of(self, node: Node, value: Callable[[Any], Any]) -> Iterator[Use]:
        """The products of a node of `nodes` at its values."""
        for product in OPERATORS[node.operator].products(node, value):
            name = self._behind.get(product.weight.node)
            use = None if name not in self.readers else self._use(name, product)
            if use is not None:
                self._seen.add((name, node))
                yield use

    def missing(self) -> dict[str, str]:
        """After a run: the parameters that are used otherwise than as a matrix, and where."""
        found = {}
        for name, readers in self.readers.items():
            others = [node for node in readers if (name, node) not in self._seen]
            if others:
                found[name] = f"{others[0].label} does not use it as a matrix"
            elif not readers:
                found[name] = "no operator uses it"
        return found

    def _use(self, name: str, product: Product) -> Use | None:
        if product.weight.node.operator == PARAMETER:
            return Use(name, product)
        key = product.weight, product.groups, product.transposed
        if key not in self._matched:
            self._matched[key] = _match(product, self._shapes[name])
        if self._matched[key] is None:
            return None
        transposed, rows = self._matched[key]
        return Use(name, replace(product, transposed=transposed), rows)


def _multiplies(node: Node) -> bool:
    return OPERATORS[node.operator].products is not None


def _moved_parameters(network: GraphNetwork) -> dict[Node, str]:
    """The nodes whose numbers are one parameter's, moved or sliced, and its name."""
    found = {node: node.name for node in network.graph.parameters}
    for node in network.graph.operators:
        refs = node.refs()
        if OPERATORS[node.operator].family is Family.MOVE and refs:
            names = {found.get(ref.node) for ref in refs}
            if len(names) == 1 and None not in names:
                found[node] = names.pop()
    return found


def _match(product: Product, shape: torch.Size) -> tuple[bool, range | None] | None:
    """Where the parameter's axes hold the units, and which of its rows are used.

    Found by moving the parameter's positions as its numbers are moved. None: it is no matrix.
    """
    whole = torch.arange(shape.numel()).reshape(shape)
    matrix = as_matrix(_moved(product.weight, whole), product.groups, product.transposed)
    for transposed in (False, True):
        if shape[0] % product.groups == 0 and len(shape) > 1:
            expected = as_matrix(whole, product.groups, transposed)
            if expected.shape == matrix.shape and torch.equal(expected, matrix):
                return transposed, None
    rows = whole.flatten(1)
    start, count = int(matrix[0, 0, 0]) // rows.shape[1], matrix.shape[1]
    if len(matrix) == 1 and torch.equal(rows[start : start + count], matrix[0]):
        return False, range(start, start + count)
    return None


def _moved(ref: Ref, parameter: Tensor) -> Tensor:
    if ref.node.operator == PARAMETER:
        return parameter
    arguments = [
        map_refs(value, lambda r: _moved(r, parameter)) for value in ref.node.arguments.values()
    ]
    result = OPERATORS[ref.node.operator].call(*arguments)
    return result[ref.index] if isinstance(result, tuple | list) else result
