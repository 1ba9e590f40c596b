"""How products of several values treat axes: `matmul`, `einsum` and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .ir import Node
from .summed_axes import inner_axes, is_plain, lettered, letters_of
from .units import Axis, ids_of, size_of

if TYPE_CHECKING:
    from .axes import Axes

Rule = Callable[["Axes", Node], None]


def _tie_inner(axes: Axes, node: Node) -> None:
    """What is summed over goes from all factors, or from none."""
    for factors in inner_axes(node, axes.shape):
        first, *others = (axes.of(ref)[axis] for ref, axis in factors)
        for other in others:
            axes.tie(first, other)
        if not others:  # a plain sum
            axes.freeze(first)


def _matmul(axes: Axes, node: Node) -> None:
    a, b = (axes.of(node.arguments[name]) for name in ("input", "other"))
    if min(len(a), len(b)) < 2:
        axes.give_up(node)
        return
    _tie_inner(axes, node)
    batch = axes.broadcast([a[:-2], b[:-2]]) if len(a) > 2 or len(b) > 2 else []
    axes.put(node, [*batch, a[-2], b[-1]])


def _einsum(axes: Axes, node: Node) -> None:
    """Axes of one letter are one."""
    if not is_plain(node):
        axes.give_up(node)
        return
    _tie_inner(axes, node)
    found, outputs = lettered(node, axes.shape), letters_of(node)[1]
    result = []
    for letter in outputs:
        axis, *others = (axes.of(ref)[at] for ref, at in found[letter])
        for other in others:
            axis = axes.tie(axis, other)
        result.append(axis)
    axes.put(node, result)


def _attention(axes: Axes, node: Node) -> None:
    query, key, value = (axes.of(node.arguments[name]) for name in ("query", "key", "value"))
    _tie_inner(axes, node)
    for axis in (query[-2], key[-2], value[-2]):
        axes.freeze(axis)
    if node.arguments["enable_gqa"]:
        shared = axes.broadcast([key[:-2], value[:-2]])
        batch = axes.broadcast([query[:-3], shared[:-1]])
        heads = [*batch, _shared_heads(axes, query[-3], shared[-1])]
    else:
        heads = axes.broadcast([query[:-2], key[:-2], value[:-2]])
    if node.arguments["attn_mask"] is not None:
        axes.freeze_all(node.arguments["attn_mask"])
        # A mask of its own for each head keeps all heads.
        heads = axes.broadcast([heads, axes.of(node.arguments["attn_mask"])[:-2]])
    axes.put(node, [*heads, query[-2], value[-1]])


def _shared_heads(axes: Axes, queries: Axis, keys: Axis) -> Axis:
    """Heads of queries, of which as many in a row share each head of keys, go with that head."""
    if size_of(keys) == 1:
        return queries
    if size_of(keys) == size_of(queries):
        return axes.tie(queries, keys)
    if ids_of(queries, axes.units) is not None or ids_of(keys, axes.units) is not None:
        one, other = axes.known_ids(queries), axes.known_ids(keys)
        axes.units.join(other[:, None], one.reshape(len(other), -1))
    return queries


PRODUCT_RULES: dict[str, Rule] = {
    "matmul": _matmul,
    "einsum": _einsum,
    "attention": _attention,
    "attention_dropout": _attention,
}
