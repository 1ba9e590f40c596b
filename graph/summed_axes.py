"""Axes that an operator sums over products of values: of `matmul`, `einsum` and attention.

A position of such an axis adds the product of its factors to the result. Where one factor is zero
the others are not read there, and the position can go from all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .ir import Node, Ref
from .operators import Family
from .table import OPERATORS

if TYPE_CHECKING:
    from .facts import Facts

Factors = tuple[tuple[Ref, int], ...]  # values, and which of their axes it is
Shape = Callable[[Ref], tuple[int, ...]]


def inner_axes(node: Node, shape: Shape) -> list[Factors]:
    """The axes that a node sums products over, each with all values that have it.

    :param shape: gives the shape of a value.
    """
    if node.operator == "matmul":
        refs = [node.arguments[name] for name in ("input", "other")]
        return [((refs[0], -1), (refs[1], -2))] if min(len(shape(r)) for r in refs) > 1 else []
    if OPERATORS[node.operator].family is Family.ATTENTION:
        return [((node.arguments["query"], -1), (node.arguments["key"], -1))]
    if node.operator == "einsum" and is_plain(node):
        outputs = letters_of(node)[1]
        found = lettered(node, shape)
        return [factors for letter, factors in found.items() if letter not in outputs]
    return []


def letters_of(node: Node) -> tuple[list[str], str]:
    """The letters of each operand of an einsum, and of its result."""
    operands, _, result = node.arguments["equation"].partition("->")
    return operands.split(","), result


def is_plain(node: Node) -> bool:
    """Whether an einsum has a result's letters, no letter twice in one operand, and no "..."."""
    operands, result = letters_of(node)
    plain = all(part.isalpha() and len(set(part)) == len(part) for part in operands)
    letters = set("".join(operands))
    return plain and "->" in node.arguments["equation"] and set(result) <= letters


def places(node: Node, shape: Shape) -> dict[str, tuple[tuple[int, int], ...]]:
    """Of each letter of an einsum: which operands have it, by number, and on which axis.

    Operands that are broadcast along a letter, being of size 1 there, are left out.
    """
    refs, found = node.arguments["tensors"], {}
    for number, letters in enumerate(letters_of(node)[0]):
        for axis, letter in enumerate(letters):
            found.setdefault(letter, []).append((number, axis))
    sizes = {key: max(shape(refs[n])[axis] for n, axis in at) for key, at in found.items()}
    return {
        key: tuple((n, axis) for n, axis in at if shape(refs[n])[axis] == sizes[key])
        for key, at in found.items()
    }


def lettered(node: Node, shape: Shape) -> dict[str, Factors]:
    """As `places`, with the operands themselves."""
    refs = node.arguments["tensors"]
    return {
        letter: tuple((refs[n], axis) for n, axis in at)
        for letter, at in places(node, shape).items()
    }


def zeros_of(facts: Facts, factors: Factors) -> list[Tensor]:
    """Of each factor where it is zero along the axis, bool, shape (size,)."""
    found = []
    for ref, axis in factors:
        size, fact = facts.shape(ref)[axis], facts.fact(ref)
        if fact is None:
            found.append(torch.zeros(size, dtype=torch.bool))
        else:
            known, value = fact.along(axis, size)
            found.append(known & value.eq(0))
    return found


def unread(facts: Facts, factors: Factors) -> list[Tensor]:
    """Of each factor where another is zero along the axis, bool, shape (size,)."""
    zeros = zeros_of(facts, factors)
    if len(zeros) == 1:
        return [torch.zeros_like(zeros[0])]
    others = [zeros[:i] + zeros[i + 1 :] for i in range(len(zeros))]
    return [torch.stack(part).any(0) for part in others]


def read_factor(facts: Facts, ref: Ref, read: Tensor) -> None:
    """Read a factor where it is said to be, and where it is zero.

    Its zeros are why the other factors are not read there, so that they have to stay zeros.
    """
    fact = facts.fact(ref)
    facts.read(ref, read if fact is None else read | (fact.known & fact.value.eq(0)))


def along(mask: Tensor, axis: int, rank: int) -> Tensor:
    """A mask of one axis as a mask of a value, size 1 elsewhere."""
    if bool(mask.all()) or not bool(mask.any()):
        return mask[:1].reshape([1] * rank)
    view = [1] * rank
    view[axis] = -1
    return mask.reshape(view)
