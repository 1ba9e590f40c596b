"""How a change of one channel goes on through a graph: which values change in a few channels only.

A value changes *along* an axis if a change of channel u of a node's result changes it nowhere but
in the positions `offset + u * each` and the `each - 1` behind. Elementwise operators, pooling,
channel norms, depthwise convolutions, zero padding, concatenation, flattening and permutations keep
a change in its place; a step of theirs takes the changed slices alone. Everything else is computed
in full, but for a contraction: to its result one adds what its weights make of the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from .ir import Node, Ref
from .operators import Family
from .table import OPERATORS


@dataclass(frozen=True)
class Along:
    """Where a value changes with channel u: `each` positions of axis `dim` from `start(u)` on."""

    dim: int
    offset: int = 0
    each: int = 1

    def start(self, unit: int) -> int:
        return self.offset + unit * self.each

    def cut(self, value: Tensor, unit: int) -> Tensor:
        """What changes of a whole value."""
        return value.narrow(self.dim, self.start(unit), self.each)


# How a step gets the changed part of a value from the unit's number and from a function that gives
# the tensor of each value: slices of those that change along an axis, else all of it.
Get = Callable[[Ref], Any]
Step = Callable[[int, Get], Tensor]
Shape = Callable[[Ref], tuple[int, ...]]
Changed = Mapping[Ref, "Along | None"]  # by value; None: it changes everywhere


def followed(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Where the result of an operator changes, and a step that computes this part.

    :param changed: what changes of the values before; what is not there stays.
    :param shape: of values, at any number of examples.
    :returns: None if the whole result has to be computed.
    """
    row = OPERATORS[node.operator]
    rule = _RULES.get(node.operator) or _FAMILIES.get(row.family)
    if rule is None or any(ref in changed and changed[ref] is None for ref in node.refs()):
        return None
    return rule(node, changed, shape)


def joined(
    node: Node, changed: Changed, shape: Shape
) -> Callable[[int, Tensor, Get], Tensor] | None:
    """What is added to the result of a contraction for a difference of its input's slices.

    :returns: a function of the unit's number, the difference, and the tensors of other values; None
        if the operator is no contraction, or something else of it changes.
    """
    name = _SOURCES.get(node.operator)
    if name is None or node.arguments.get("groups", 1) != 1:
        return None
    source, weight = node.arguments[name], node.arguments[_WEIGHTS.get(node.operator, "weight")]
    place = changed.get(source)
    others = [ref for ref in node.refs() if ref != source]
    axis = 1 if node.operator.startswith("conv") else len(shape(source)) - 1
    if place is None or place.dim != axis or any(ref in changed for ref in others):
        return None
    if len(shape(weight)) < 2 or (axis != 1 and len(shape(weight)) != 2):
        return None
    inputs = 1 if node.operator in ("linear", "conv1d", "conv2d", "conv3d") else 0

    def step(unit: int, difference: Tensor, get: Get) -> Tensor:
        part = get(weight).narrow(inputs, place.start(unit), place.each)
        if node.operator in ("matmul", "addmm"):
            return difference @ part
        if node.operator == "linear":
            return OPERATORS["linear"].call(difference, part, None)
        return call(node, get, {source: difference, weight: part}, bias=None)

    return step


_SOURCES = {
    "linear": "input", "matmul": "input", "addmm": "mat1",
    **{f"conv{n}d": "input" for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": "input" for n in (1, 2, 3)},
}  # fmt: skip
_WEIGHTS = {"matmul": "other", "addmm": "mat2"}


def call(node: Node, get: Get, given: Mapping[Ref, Any], device: Any = None, **changed: Any) -> Any:
    """The result of an operator in eval mode.

    :param get: gives the tensor or number of each value.
    :param given: other ones for some of the values.
    :param device: where constants are made.
    :param changed: other values of some arguments.
    """

    def value(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return given[argument] if argument in given else get(argument)
        if isinstance(argument, tuple):
            return tuple(value(part) for part in argument)
        return argument

    row = OPERATORS[node.operator]
    arguments = [
        changed[name] if name in changed else value(argument)
        for name, argument in node.arguments.items()
    ]
    if row.family is Family.FACTORY:
        return row.call(*arguments, device)
    return row.call(*arguments, False) if row.trains else row.call(*arguments)


def _source(node: Node, changed: Changed) -> Along | None:
    """Where the input changes, if nothing else that the operator takes does."""
    source = node.arguments["input"]
    others = [ref for ref in node.refs() if ref != source]
    return None if any(ref in changed for ref in others) else changed.get(source)


def _elementwise(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Other operands are cut in the same place, where they are not broadcast."""
    places = {changed[ref] for ref in node.refs() if ref in changed}
    place, rank = next(iter(places)), len(shape(Ref(node)))
    size = shape(Ref(node))[place.dim]
    cuts = []
    for ref in dict.fromkeys(node.refs()):
        dim = place.dim - rank + len(shape(ref))
        if ref in changed:
            if len(places) > 1 or dim != place.dim or shape(ref)[dim] != size:
                return None
        elif dim >= 0 and shape(ref)[dim] != 1:
            cuts.append((ref, Along(dim, place.offset, place.each)))

    def step(unit: int, get: Get) -> Tensor:
        return call(node, get, {ref: cut.cut(get(ref), unit) for ref, cut in cuts})

    return place, step


def _by_channel(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Windows and channel norms: parameters are vectors of channels, axis 1."""
    place, source = _source(node, changed), node.arguments["input"]
    if place is None or place.dim != 1:
        return None
    vectors = [ref for ref in node.refs() if ref != source and shape(ref) == shape(source)[1:2]]
    cut = Along(0, place.offset, place.each)

    def step(unit: int, get: Get) -> Tensor:
        return call(node, get, {ref: cut.cut(get(ref), unit) for ref in vectors})

    return place, step


def _depthwise(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    place, weight, bias = _source(node, changed), node.arguments["weight"], node.arguments["bias"]
    groups = node.arguments["groups"]
    if place is None or place.dim != 1 or groups == 1 or shape(weight)[1] != 1:
        return None
    many = shape(weight)[0] // groups
    out = Along(1, many * place.offset, many * place.each)
    rows = Along(0, out.offset, out.each)

    def step(unit: int, get: Get) -> Tensor:
        given = {weight: rows.cut(get(weight), unit)}
        if bias is not None:
            given[bias] = rows.cut(get(bias), unit)
        return call(node, get, given, groups=place.each)

    return out, step


def _flatten(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Axes from the channels on become one: flatten, and reshape to two axes."""
    place, source = _source(node, changed), node.arguments["input"]
    rank, result = len(shape(source)), len(shape(Ref(node)))
    if node.operator == "flatten":
        first, last = (node.arguments[name] % rank for name in ("start_dim", "end_dim"))
    else:
        first, last = 1, rank - 1
    if place is None or first != place.dim or result != rank - (last - first):
        return None
    if node.operator == "reshape" and (result != 2 or shape(Ref(node))[0] != shape(source)[0]):
        return None
    many = prod(shape(source)[first + 1 : last + 1])

    def step(unit: int, get: Get) -> Tensor:
        return get(source).flatten(first, last)

    return Along(first, many * place.offset, many * place.each), step


def _pad(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    place, pads = _source(node, changed), node.arguments["pad"]
    if place is None or len(pads) // 2 > len(shape(node.arguments["input"])) - 1 - place.dim:
        return None
    return place, lambda unit, get: call(node, get, {})


def _cat(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Of a concatenation along the channels one part changes."""
    refs = node.arguments["tensors"]
    dim, at = node.arguments["dim"] % len(shape(refs[0])), [r for r in refs if r in changed]
    if len(at) != 1 or changed[at[0]].dim != dim:
        return None
    place = changed[at[0]]
    before = sum(shape(ref)[dim] for ref in refs[: refs.index(at[0])])
    return Along(dim, before + place.offset, place.each), lambda unit, get: get(at[0])


def _permute(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Permutations that leave the batch where it is."""
    place, rank = _source(node, changed), len(shape(Ref(node)))
    if node.operator == "permute":
        order = [d % rank for d in node.arguments["dims"]]
    else:
        order, (a, b) = list(range(rank)), (node.arguments[d] % rank for d in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    if place is None or order[0] != 0:
        return None
    moved = Along(order.index(place.dim), place.offset, place.each)
    return moved, lambda unit, get: call(node, get, {})


def _reduce(node: Node, changed: Changed, shape: Shape) -> tuple[Along, Step] | None:
    """Over other axes than the channels and the batch."""
    place, rank = _source(node, changed), len(shape(node.arguments["input"]))
    dims = node.arguments["dim"]
    gone = {d % rank for d in (range(rank) if dims is None else dims)}
    if place is None or gone & {0, place.dim}:
        return None
    keep = node.arguments.get("keepdim", False)
    dim = place.dim if keep else place.dim - sum(d < place.dim for d in gone)
    return Along(dim, place.offset, place.each), lambda unit, get: call(node, get, {})


Rule = Callable[[Node, Changed, Shape], "tuple[Along, Step] | None"]
_FAMILIES: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.WINDOW: _by_channel,
    Family.CHANNEL_NORM: _by_channel,
    Family.REDUCE: _reduce,
}
_RULES: dict[str, Rule] = {
    "prelu": _by_channel,
    **{f"conv{n}d": _depthwise for n in (1, 2, 3)},
    "flatten": _flatten,
    "reshape": _flatten,
    "pad": _pad,
    "cat": _cat,
    "transpose": _permute,
    "permute": _permute,
    "squeeze": _reduce,
}
