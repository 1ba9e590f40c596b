"""Linear maps between axes of channels, as matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .ir import Node, Ref

if TYPE_CHECKING:
    from .facts import Facts


@dataclass(frozen=True)
class Contraction:
    """A linear map from an axis of channels to another, of one node.

    :param source: the value whose channels are read, along `input_axis`.
    :param matrix: which weights are not zero, bool, shape (outputs, inputs).
    :param sums: gives the weights summed over kernel entries, of the same shape.
    :param bias: float64, shape (outputs,).
    :param known: which inputs are constants, shape (inputs,), and `value` which.
    :param exact: inputs whose constant the outputs take in exactly (no padding in its way).
    """

    node: Node
    source: Ref
    input_axis: int
    output_axis: int
    matrix: Tensor
    sums: Callable[[], Tensor]
    bias: Tensor
    known: Tensor
    value: Tensor
    exact: Tensor

    def constants(self) -> tuple[Tensor, Tensor]:
        """Which outputs are constants, bool (outputs,), and their values, float64."""
        taken = self.known & self.exact
        known = ~(self.matrix & ~taken).any(1)
        if not known.any() or not (self.matrix[known].any()):
            return known, self.bias
        return known, self.bias + self.added(taken)

    def added(self, inputs: Tensor) -> Tensor:
        """What constant inputs add to each output, float64, shape (outputs,)."""
        value = torch.where(inputs, self.value, 0).double()
        columns = value.ne(0)
        if not columns.any():
            return torch.zeros_like(self.bias)
        return self.sums()[:, columns].double() @ value[columns]


def contraction_of(facts: Facts, node: Node) -> Contraction | None:
    """The linear map of a node, None if it is none of one static matrix.

    Convolutions of several groups are given as the whole matrix, zero between groups.
    """
    name = node.operator
    if name in ("linear", "addmm") or name == "matmul":
        return _matrix(facts, node)
    if name.startswith("conv"):
        return _kernel(facts, node)
    return None


def _matrix(facts: Facts, node: Node) -> Contraction | None:
    if node.operator == "linear":
        source, weight, bias = (node.arguments[k] for k in ("input", "weight", "bias"))
        matrix = facts.weight(weight) if facts.evaluation.is_static(weight) else None
    else:
        names = ("mat1", "mat2") if node.operator == "addmm" else ("input", "other")
        source, weight = (node.arguments[k] for k in names)
        bias = node.arguments["input"] if node.operator == "addmm" else None
        plain = len(facts.shape(weight)) == 2 and len(facts.shape(source)) > 1
        static = facts.evaluation.is_static(weight)
        matrix = facts.weight(weight).T if static and plain else None
    if (
        matrix is None
        or facts.evaluation.is_static(source)
        or (bias is not None and not facts.evaluation.is_static(bias))
    ):
        return None
    if bias is not None and facts.shape(bias) != (len(matrix),):
        return None
    known, value = _channel_facts(facts, source, -1)
    added = _bias(facts, bias, len(matrix))
    return Contraction(
        node, source, -1, -1, matrix.ne(0), lambda: matrix, added, known, value,
        torch.ones_like(known),
    )  # fmt: skip


def _kernel(facts: Facts, node: Node) -> Contraction | None:
    source, weight, bias = (node.arguments[k] for k in ("input", "weight", "bias"))
    fixed = facts.evaluation.is_static
    if not fixed(weight) or fixed(source) or (bias is not None and not fixed(bias)):
        return None
    kernel, groups = facts.weight(weight), node.arguments["groups"]
    up = node.operator.startswith("conv_transpose")
    blocks = kernel.unflatten(0, (groups, -1)).flatten(3)
    if up:
        blocks = blocks.transpose(1, 2)
    known, value = _channel_facts(facts, source, 1)
    padded = node.arguments["padding"] == "same" or any(node.arguments["padding"])
    exact = value.eq(0) if up or padded else torch.ones_like(known)
    outputs = blocks.shape[0] * blocks.shape[1]
    return Contraction(
        node, source, 1, 1, _whole(blocks.ne(0).any(3)),
        lambda: _whole(blocks.double().sum(3)), _bias(facts, bias, outputs), known, value, exact,
    )  # fmt: skip


def _whole(blocks: Tensor) -> Tensor:
    """The matrix of blocks along the diagonal, shape (groups, outputs, inputs) of each."""
    return blocks[0] if len(blocks) == 1 else torch.block_diag(*blocks).to(blocks.dtype)


def _channel_facts(facts: Facts, source: Ref, axis: int) -> tuple[Tensor, Tensor]:
    fact, size = facts.fact(source), facts.shape(source)[axis]
    if fact is None:
        return torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.float64)
    known, value = fact.along(axis, size)
    return known, value.double()


def _bias(facts: Facts, bias: Ref | None, size: int) -> Tensor:
    if bias is None:
        return torch.zeros(size, dtype=torch.float64)
    return facts.weight(bias).double()
