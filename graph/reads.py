"""Which positions of what an operator takes are read: backward through the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .ir import Node, Ref
from .operators import Family, window_axes
from .recurrent import read_inputs

if TYPE_CHECKING:
    from .facts import Facts

Rule = Callable[["Facts", Node], None]


def read_all(facts: Facts, node: Node) -> None:
    for ref in facts.tensors(node):
        facts.read(ref, torch.ones([1] * len(facts.shape(ref)), dtype=torch.bool))


def _reads_elementwise(facts: Facts, node: Node) -> None:
    read = facts.read_of(Ref(node))
    for ref in facts.tensors(node):
        mine, shape = read, facts.shape(ref)
        if node.operator == "mul":
            mine = mine & ~_unread_factor(facts, node, ref)
        facts.read(ref, _fitted(mine, shape))


def _fitted(read: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What is read of a result, as what is read of an operand that was broadcast to it."""
    read = read.reshape([1] * (len(shape) - read.dim()) + list(read.shape))
    while read.dim() > len(shape):
        read = read.any(0)
    for axis, size in enumerate(shape):
        if size == 1 and read.shape[axis] > 1:
            read = read.any(axis, keepdim=True)
    return read


def _unread_factor(facts: Facts, node: Node, ref: Ref) -> Tensor:
    """Where a factor is not read because the other is zero; of two zeros the first is read."""
    left, right = node.arguments["input"], node.arguments["other"]
    unread = torch.zeros(1, dtype=torch.bool)
    if left == right or not isinstance(right, Ref):
        return unread
    zero = {}
    for factor in (left, right):
        fact = facts.fact(factor)
        zero[factor] = unread if fact is None else fact.known & fact.value.eq(0)
    return zero[right] & ~zero[left] if ref == left else zero[left]


def _reads_channels(facts: Facts, node: Node) -> None:
    facts.read(node.arguments["input"], facts.read_of(Ref(node)))


def _reads_group_norm(facts: Facts, node: Node) -> None:
    source, shape = node.arguments["input"], facts.shape(node.arguments["input"])
    groups = node.arguments.get("num_groups", shape[1])
    read = facts.read_along(Ref(node), 1).reshape(groups, -1)
    read = read.any(1, keepdim=True).expand_as(read).reshape(1, -1, *[1] * (len(shape) - 2))
    facts.read(source, read)


def _reads_window(facts: Facts, node: Node) -> None:
    read = facts.read_of(Ref(node))
    rank = read.dim()
    for axis in range(rank - window_axes(node.operator, rank), rank):
        read = read.any(axis, keepdim=True)
    facts.read(node.arguments["input"], read)


def _reads_reduced(facts: Facts, node: Node) -> None:
    source, read = node.arguments["input"], facts.read_of(Ref(node))
    rank, dims = len(facts.shape(source)), node.arguments["dim"]
    dims = sorted(d % rank for d in (range(rank) if dims is None else dims))
    for d in dims if not node.arguments["keepdim"] else ():
        read = read.unsqueeze(d)
    facts.read(source, read)


def _reads_along(facts: Facts, node: Node) -> None:
    axis = node.arguments["dim"]
    facts.read(node.arguments["input"], facts.read_of(Ref(node)).any(axis, keepdim=True))


def _reads_moved(facts: Facts, node: Node) -> None:
    """What is read of the results, moved back: the transpose of a linear map of zeros and ones."""
    refs = list(dict.fromkeys(facts.tensors(node)))
    with torch.enable_grad():
        inputs = {ref: torch.zeros(facts.shape(ref), requires_grad=True) for ref in refs}
        results = facts.evaluation.recompute(node, inputs)
    grads = []
    for index, result in enumerate(results):
        read = facts.read_of(Ref(node, index))
        shape = result.shape
        grads.append(torch.zeros(shape) if read is None else read.float().expand(shape))
    found = torch.autograd.grad(results, list(inputs.values()), grads, allow_unused=True)
    for ref, grad in zip(refs, found, strict=True):
        if grad is not None:
            facts.read(ref, _collapsed(grad.ne(0)))


def _collapsed(read: Tensor) -> Tensor:
    for axis in range(read.dim()):
        if read.shape[axis] > 1 and bool((read == read.narrow(axis, 0, 1)).all()):
            read = read.narrow(axis, 0, 1)
    return read


def _reads_picked(facts: Facts, node: Node) -> None:
    source, kept = node.arguments["input"], facts.weight(node.arguments["kept"])
    read = torch.zeros(len(kept), dtype=torch.bool)
    read[kept] = facts.read_along(Ref(node), -1)
    facts.read(source, read.reshape([1] * (len(facts.shape(source)) - 1) + [-1]))


def _reads_contracted(facts: Facts, node: Node) -> None:
    contraction = facts.contraction(node)
    if contraction is None:
        if node.operator == "matmul" and min(len(facts.shape(r)) for r in node.refs()) > 1:
            _reads_product(facts, node)
        else:
            read_all(facts, node)
        return
    rows = facts.read_along(Ref(node), contraction.output_axis)
    read = (contraction.matrix & rows[:, None]).any(0)
    view = [1] * len(facts.shape(contraction.source))
    view[contraction.input_axis] = -1
    facts.read(contraction.source, read.reshape(view))


def _reads_product(facts: Facts, node: Node) -> None:
    """The left factor is read by rows, but not against columns of zeros; the right by columns."""
    left, right = node.arguments["input"], node.arguments["other"]
    read = facts.read_of(Ref(node))
    facts.read(right, _fitted(read.any(-2, keepdim=True), facts.shape(right)))
    fact = facts.fact(right)
    if fact is not None:
        read = read & ~(fact.known & fact.value.eq(0)).all(-2, keepdim=True)
    facts.read(left, _fitted(read.any(-1, keepdim=True), facts.shape(left)))


def _reads_attention(facts: Facts, node: Node) -> None:
    if node.arguments["enable_gqa"]:
        read_all(facts, node)
        return
    read, value = facts.read_of(Ref(node)).any(-2, keepdim=True), node.arguments["value"]
    facts.read(value, _fitted(read, facts.shape(value)))
    fact = facts.fact(Ref(node))  # means of one constant, whatever is looked at
    moved = read if fact is None else (read & ~fact.known).any(-2, keepdim=True)
    for ref in (node.arguments["query"], node.arguments["key"]):
        facts.read(ref, _fitted(moved.any(-1, keepdim=True), facts.shape(ref)))
    mask = node.arguments["attn_mask"]
    if mask is not None:
        facts.read(mask, torch.ones([1] * len(facts.shape(mask)), dtype=torch.bool))


def _reads_recurrent(facts: Facts, node: Node) -> None:
    for ref, read in read_inputs(facts, node):
        facts.read(ref, read)


READ_RULES_BY_FAMILY: dict[Family, Rule] = {
    Family.ELEMENTWISE: _reads_elementwise,
    Family.CHANNEL_NORM: _reads_channels,
    Family.GROUP_NORM: _reads_group_norm,
    Family.WINDOW: _reads_window,
    Family.REDUCE: _reads_reduced,
    Family.ALONG: _reads_along,
    Family.MOVE: _reads_moved,
    Family.CONTRACT: _reads_contracted,
    Family.ATTENTION: _reads_attention,
    Family.RECURRENT: _reads_recurrent,
}
READ_RULES: dict[str, Rule] = {
    "prelu": _reads_channels,
    "embedding": read_all,
    "pick": _reads_picked,
}
