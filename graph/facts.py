"""What is known of a graph's values: which positions are constants, and which are never read.

Both are found for the network as it stands, in eval mode, whatever the inputs. A `Fact` of a value
has the value's rank, and size 1 along axes where it is the same everywhere, so that a dead channel
takes one number however large its feature map is. Constants are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .constants import CONSTANT_RULES, CONSTANT_RULES_BY_FAMILY
from .contractions import Contraction, contraction_of
from .evaluate import BATCH, Evaluation
from .fact import Fact
from .ir import Node, Ref
from .reads import READ_RULES, READ_RULES_BY_FAMILY, read_all
from .table import OPERATORS

__all__ = ["Contraction", "Fact", "Facts", "contraction_of"]


class Facts:
    """Constants and reads of every value of a graph.

    :param evaluation: a run of the network, for shapes and static values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.graph = evaluation.graph
        self._facts: dict[Ref, Fact] = {}
        self._reads: dict[Ref, Tensor] = {}
        self._contractions: dict[Node, Contraction | None] = {}
        with torch.no_grad():
            for node in self.graph.operators:
                if not evaluation.is_static(Ref(node)):
                    self._learn(node)
            for ref in self.graph.output_refs():
                self.read(ref, torch.ones([1] * len(self.shape(ref)), dtype=torch.bool))
            for node in reversed(self.graph.operators):
                if any(Ref(node, i) in self._reads for i in range(evaluation.results(node))):
                    self._trace_back(node)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        return self.evaluation.shape(ref)

    def fact(self, ref: Ref) -> Fact | None:
        """What is constant in a value; None if nothing is."""
        if not self.evaluation.is_static(ref):
            return self._facts.get(ref)
        value = self.evaluation.static(ref)
        if not isinstance(value, Tensor):
            return None
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
        return Fact(torch.ones([1] * value.dim(), dtype=torch.bool), value)

    def read_of(self, ref: Ref) -> Tensor | None:
        """Which positions an output depends on, bool as in `Fact.known`; None: none of them."""
        return self._reads.get(ref)

    def idle(self, ref: Ref, axis: int) -> Tensor:
        """Which positions along an axis are constants or never read, bool, shape (size,)."""
        shape = self.shape(ref)
        read, fact = self._reads.get(ref), self._facts.get(ref)
        if read is None:
            return torch.ones(shape[axis], dtype=torch.bool)
        idle = ~read if fact is None else ~read | fact.known
        others = [d for d in range(len(shape)) if d != axis]
        for d in others:
            idle = idle.all(d, keepdim=True)
        return idle.reshape(-1).expand(shape[axis])

    def _learn(self, node: Node) -> None:
        row = OPERATORS[node.operator]
        rule = CONSTANT_RULES.get(node.operator) or CONSTANT_RULES_BY_FAMILY.get(row.family)
        if rule is not None:
            rule(self, node)

    def put(self, ref: Ref, known: Tensor, value: Tensor) -> None:
        """Keep what is known of a value, if anything is."""
        if value.is_floating_point():
            known = known & value.isfinite()
        for axis in self.evaluation.batch_axes(ref):  # it must hold for any number of examples
            fact = Fact(known, value).periodic(axis, BATCH)
            known, value = fact.known, fact.value
        if not known.any():
            return
        known, value = torch.broadcast_tensors(known, torch.where(known, value, 0))
        for axis in range(known.dim()):
            if known.shape[axis] > 1:
                first = (known.narrow(axis, 0, 1), value.narrow(axis, 0, 1))
                if bool((known == first[0]).all() & (value == first[1]).all()):
                    known, value = first
        self._facts[ref] = Fact(known, value)

    def _trace_back(self, node: Node) -> None:
        row = OPERATORS[node.operator]
        rule = READ_RULES.get(node.operator) or READ_RULES_BY_FAMILY.get(row.family, read_all)
        rule(self, node)

    def read(self, ref: Ref, read: Tensor) -> None:
        """Positions of a value that something reads, besides those found before."""
        if not read.any():
            return
        before = self._reads.get(ref)
        self._reads[ref] = read if before is None else before | read

    def read_along(self, ref: Ref, axis: int) -> Tensor:
        """Which positions of an axis are read anywhere, bool, shape (size,)."""
        size = self.shape(ref)[axis]
        read = self._reads.get(ref)
        if read is None:
            return torch.zeros(size, dtype=torch.bool)
        for d in range(read.dim()):
            if d != axis % read.dim():
                read = read.any(d, keepdim=True)
        return read.reshape(-1).expand(size)

    def contraction(self, node: Node) -> Contraction | None:
        """The linear map of a node, if it is one; see `contraction_of`."""
        if node not in self._contractions:
            self._contractions[node] = contraction_of(self, node)
        return self._contractions[node]

    def tensors(self, node: Node) -> list[Ref]:
        """What an operator takes, sizes left out."""
        return [ref for ref in node.refs() if self.evaluation.is_tensor(ref)]

    def weight(self, ref: Ref) -> Tensor:
        """A static operand of a contraction, as it is, on the CPU."""
        return self.evaluation.static(ref).detach().cpu()
