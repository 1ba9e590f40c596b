"""Which positions of which axes belong together: the units of a network.

`Axes` walks through a graph once. A parameter brings a new unit for each position of each of its
axes; operators join units, carry them on, or freeze them. What is left are the network's units: a
channel of a residual stream with all of its producers and readers is one, an attention head with
its rows of query, key and value is one.
"""

from __future__ import annotations

import numpy as np

from .axes_layers import FAMILY_RULES, LAYER_RULES
from .axes_moves import MOVE_RULES
from .axes_products import PRODUCT_RULES
from .evaluate import Evaluation
from .ir import INPUT, PARAMETER, Node, Ref
from .table import OPERATORS
from .units import Atom, Axis, Units, free, ids_of, size_of, tracked

_BY_NAME = {**LAYER_RULES, **PRODUCT_RULES, **MOVE_RULES}


class Axes:
    """The units at each position of each axis of a graph's values and parameters.

    :param evaluation: a run of the network, for shapes and static values.
    :param inner: of an axis that a reshape splits, say into heads and their parts, let the last
        factor have the units (a part of all heads each), not the first (a head each).
    """

    def __init__(self, evaluation: Evaluation, inner: bool = False) -> None:
        self.evaluation = evaluation
        self.graph = evaluation.graph
        self.units = Units(inner)
        self._axes: dict[Ref, list[Axis]] = {}
        for node in self.graph.nodes:
            self._visit(node)
        for ref in self.graph.output_refs():
            self.freeze_all(ref)

    def ids(self, ref: Ref) -> list[np.ndarray | None]:
        """For each axis of a value the unit at each of its positions, or None for no units.

        Units that are tied to each other have the same number.
        """
        found = [ids_of(axis, self.units) for axis in self._axes[ref]]
        return [None if ids is None else self.units.find(ids) for ids in found]

    def refs(self) -> list[Ref]:
        """All values and parameters, in the order of computation."""
        return list(self._axes)

    # --- What the rules are made of ---------------------------------------------------------------

    def shape(self, ref: Ref) -> tuple[int, ...]:
        return self.evaluation.shape(ref)

    def of(self, ref: Ref) -> list[Axis]:
        """The axes of a value."""
        return self._axes[ref]

    def put(self, node: Node, *results: list[Axis]) -> None:
        """The axes of a node's results."""
        for index, axes in enumerate(results):
            ref = Ref(node, index)
            shape = self.shape(ref)
            sizes = tuple(size_of(axis) for axis in axes)
            assert sizes == shape, f"{node!r}: axes of sizes {sizes} for shape {shape}"
            self._axes[ref] = axes

    def freeze(self, axis: Axis) -> None:
        for atom in axis:
            if atom.ids is not None:
                self.units.freeze(atom.ids)

    def freeze_all(self, ref: Ref) -> None:
        for axis in self._axes[ref]:
            self.freeze(axis)

    def tie(self, left: Axis, right: Axis) -> Axis:
        """Join two axes of one size, position by position; the one that has units, if any does."""
        if [atom.size for atom in left] == [atom.size for atom in right]:
            for a, b in zip(left, right, strict=True):
                if a.axis is None or a.axis is not b.axis:
                    self._tie_ids(a.ids, b.ids)
        else:
            self._tie_ids(ids_of(left, self.units), ids_of(right, self.units))
        return left if any(atom.axis or atom.ids is not None for atom in left) else right

    def _tie_ids(self, a: np.ndarray | None, b: np.ndarray | None) -> None:
        if a is not None and b is not None:
            self.units.join(a, b)
        elif a is not None or b is not None:
            self.units.freeze(a if b is None else b)

    def known_ids(self, axis: Axis) -> np.ndarray:
        """The units of an axis; new frozen ones where it has none."""
        ids = ids_of(axis, self.units)
        return self.units.new(size_of(axis), frozen=True) if ids is None else ids

    def give_up(self, node: Node) -> None:
        """Nothing is known of an operator: all units of what it takes stay."""
        for ref in node.refs():
            self.freeze_all(ref)
        for index in range(self.evaluation.results(node)):
            ref = Ref(node, index)
            self._axes[ref] = [free(n) if n else [Atom(0)] for n in self.shape(ref)]

    def broadcast(self, operands: list[list[Axis]]) -> list[Axis]:
        """The axes of an elementwise result: the operands' joined where they are not broadcast."""
        rank = max(len(operand) for operand in operands)
        result: list[Axis] = []
        for place in range(-rank, 0):
            here = [operand[place] for operand in operands if len(operand) >= -place]
            largest = max(size_of(axis) for axis in here)
            axis: Axis | None = None
            for other in here:
                if size_of(other) == largest:
                    axis = other if axis is None else self.tie(axis, other)
            result.append(axis or [])
        return result

    def put_number(self, node: Node) -> None:
        """A node whose result is a size, not a tensor."""
        self._axes[Ref(node)] = []

    def _visit(self, node: Node) -> None:
        if node.operator == INPUT:
            self.put(node, [free(n) for n in self.shape(Ref(node))])
        elif node.operator == PARAMETER:
            shape = self.shape(Ref(node))
            self.put(node, [tracked(self.units.new(n)) if n else [Atom(0)] for n in shape])
        else:
            name, family = node.operator, OPERATORS[node.operator].family
            rule = _BY_NAME.get(name) or FAMILY_RULES.get(family)
            if rule is None:
                self.give_up(node)
            else:
                rule(self, node)
