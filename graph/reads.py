"""Which positions of what an operator takes are read: backward through the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .ir import Node, Ref
from .operators import Family, window_axes
from .recurrent import read_inputs
from .summed_axes import along, inner_axes, is_plain, letters_of, places, read_factor, unread

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
    read, (factors,) = facts.read_of(Ref(node)), inner_axes(node, facts.shape)
    hidden = unread(facts, factors)
    mine = _fitted(read.any(-2, keepdim=True), facts.shape(right))
    read_factor(facts, right, mine & ~along(hidden[1], -2, mine.dim()))
    fact = facts.fact(right)
    if fact is not None:
        read = read & ~(fact.known & fact.value.eq(0)).all(-2, keepdim=True)
    mine = _fitted(read.any(-1, keepdim=True), facts.shape(left))
    read_factor(facts, left, mine & ~along(hidden[0], -1, mine.dim()))


def _reads_einsum(facts: Facts, node: Node) -> None:
    """Operands are read where the result is along each of their letters, and no other is zero."""
    if not is_plain(node):
        read_all(facts, node)
        return
    refs, outputs = node.arguments["tensors"], letters_of(node)[1]
    reads = [torch.ones([1] * len(facts.shape(ref)), dtype=torch.bool) for ref in refs]
    for letter, at in places(node, facts.shape).items():
        hidden = unread(facts, tuple((refs[n], axis) for n, axis in at))
        for (number, axis), mask in zip(at, hidden, strict=True):
            mine = ~mask
            if letter in outputs:
                mine = mine & facts.read_along(Ref(node), outputs.index(letter))
            reads[number] = reads[number] & along(mine, axis, reads[number].dim())
    for ref, read in zip(refs, reads, strict=True):
        read_factor(facts, ref, read)


def _reads_attention(facts: Facts, node: Node) -> None:
    query, key, value = (node.arguments[name] for name in ("query", "key", "value"))
    read = facts.read_of(Ref(node)).any(-2, keepdim=True)
    fact = facts.fact(Ref(node))  # means of one constant, whatever is looked at
    moved = read if fact is None else (read & ~fact.known).any(-2, keepdim=True)
    moved = moved.any(-1, keepdim=True)
    shared = (read, moved)
    if node.arguments["enable_gqa"]:
        shared = tuple(_of_shared_heads(part, facts.shape(key)[-3]) for part in shared)
    facts.read(value, _fitted(shared[0], facts.shape(value)))
    (factors,) = inner_axes(node, facts.shape)
    hidden = unread(facts, factors)
    for ref, mine, mask in zip((query, key), (moved, shared[1]), hidden, strict=True):
        mine = _fitted(mine, facts.shape(ref))
        read_factor(facts, ref, mine & ~along(mask, -1, mine.dim()))
    mask = node.arguments["attn_mask"]
    if mask is not None:
        facts.read(mask, torch.ones([1] * len(facts.shape(mask)), dtype=torch.bool))


def _of_shared_heads(read: Tensor, heads: int) -> Tensor:
    """What is read of heads of keys, from what is read of the heads of queries that share them."""
    if read.shape[-3] == 1:
        return read
    return read.unflatten(-3, (heads, -1)).any(-3)


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
    "einsum": _reads_einsum,
    "pick": _reads_picked,
}
