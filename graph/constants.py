"""Which positions of an operator's results are constants: forward through the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .fact import Fact
from .ir import Node, Ref
from .operators import Family, window_axes
from .recurrent import silent_units
from .summed_axes import along, is_plain, lettered, letters_of, zeros_of
from .table import OPERATORS

if TYPE_CHECKING:
    from .facts import Facts

Rule = Callable[["Facts", Node], None]


def _elementwise(facts: Facts, node: Node) -> None:
    row = OPERATORS[node.operator]
    found = {ref: facts.fact(ref) for ref in node.refs()}
    rank = len(facts.shape(Ref(node)))
    if row.name == "mul":
        _product(facts, node, found)
        return
    if any(fact is None for fact in found.values()):
        return
    known = torch.ones([1] * rank, dtype=torch.bool)
    for fact in found.values():
        known = known & fact.known
    if row.jumps and not _jumps_little(node):
        for fact in found.values():
            known = known & fact.value.eq(fact.value.round())
    arguments = [found[v].value if isinstance(v, Ref) else v for v in node.arguments.values()]
    facts.put(Ref(node), known, row.call(*arguments))


def _jumps_little(node: Node) -> bool:
    """Whether a rounding error changes the result by one step of the numbers' own rounding.

    Those are a change between floating-point dtypes, and a quantised ReLU. Without the latter no
    unit behind closed gates could be removed, because its bias is no whole number.
    """
    return node.operator == "quantised_relu" or (
        node.operator == "to" and "float" in node.arguments["dtype"]
    )


def _product(facts: Facts, node: Node, found: dict[Ref, Fact | None]) -> None:
    """Zero times anything is zero."""
    operands = list(node.arguments.values())
    rank = len(facts.shape(Ref(node)))
    parts = []
    for operand in operands:
        if not isinstance(operand, Ref):
            fact = Fact(torch.ones([1] * rank, dtype=torch.bool), torch.tensor(float(operand)))
        else:
            fact = found[operand] or Fact(torch.zeros(1, dtype=torch.bool), torch.zeros(1))
        parts.append(fact)
    left, right = parts
    known = left.known & right.known
    for fact in parts:
        known = known | (fact.known & fact.value.eq(0))
    a, b = (torch.where(fact.known, fact.value, 0).double() for fact in parts)
    facts.put(Ref(node), known.expand(torch.broadcast_shapes(known.shape, [1] * rank)), a * b)


def _is_static_but(facts: Facts, node: Node, name: str) -> bool:
    """Whether all arguments but one are the same whatever the inputs."""
    own = node.arguments[name]
    return all(ref == own or facts.evaluation.is_static(ref) for ref in node.refs())


def _channels(facts: Facts, node: Node) -> None:
    """Norms and PReLU, with parameters for each channel."""
    row, source = OPERATORS[node.operator], node.arguments["input"]
    fact = facts.fact(source)
    if fact is None or not _is_static_but(facts, node, "input"):
        return
    shape = [1] * len(facts.shape(source))
    shape[1] = facts.shape(source)[1]
    value = fact.value.expand(torch.broadcast_shapes(fact.value.shape, shape))
    arguments = []
    for name, argument in node.arguments.items():
        if name == "input":
            arguments.append(value)
        elif isinstance(argument, Ref):
            arguments.append(facts.weight(argument).double())
        else:
            arguments.append(argument)
    facts.put(Ref(node), fact.known.expand_as(value), row.call(*arguments))


def _group_norm(facts: Facts, node: Node) -> None:
    """A group whose channels are constants, the same at all positions, gives constants."""
    source = node.arguments["input"]
    fact, shape = facts.fact(source), facts.shape(source)
    if fact is None or not _is_static_but(facts, node, "input"):
        return
    known, value = fact.along(1, shape[1])
    groups = node.arguments.get("num_groups", shape[1])
    whole = known.reshape(groups, -1).all(1, keepdim=True)
    value = value.reshape(groups, -1)
    mean = value.mean(1, keepdim=True)
    scale = (value.var(1, correction=0, keepdim=True) + node.arguments["eps"]).rsqrt()
    result = ((value - mean) * scale).reshape(-1)
    for name, combine in (("weight", torch.mul), ("bias", torch.add)):
        if node.arguments[name] is not None:
            result = combine(result, facts.weight(node.arguments[name]).double())
    view = [1, -1, *[1] * (len(shape) - 2)]
    known = whole.expand(groups, shape[1] // groups).reshape(view)
    facts.put(Ref(node), known, result.reshape(view))


def _window(facts: Facts, node: Node) -> None:
    fact = facts.fact(node.arguments["input"])
    if fact is None:
        return
    rank = fact.known.dim()
    fact = fact.uniform(range(rank - window_axes(node.operator, rank), rank))
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    if node.arguments.get("divisor_override"):
        known = known & value.eq(0)
    if any(node.arguments.get("padding") or ()) and node.arguments.get("count_include_pad"):
        known = known & value.eq(0)
    facts.put(Ref(node), known, value)


def _reduce(facts: Facts, node: Node) -> None:
    source = node.arguments["input"]
    fact, shape = facts.fact(source), facts.shape(source)
    if fact is None:
        return
    rank, dims = len(shape), node.arguments["dim"]
    dims = tuple(d % rank for d in (range(rank) if dims is None else dims))
    size = [shape[d] if d in dims else 1 for d in range(rank)]
    whole = torch.broadcast_shapes(fact.known.shape, fact.value.shape, size)
    known, value = fact.known.expand(whole), fact.value.expand(whole)
    for d in dims:
        known = known.all(d, keepdim=True)
    if not node.arguments["keepdim"]:
        known = known.reshape([n for d, n in enumerate(known.shape) if d not in dims])
    counted = node.operator not in ("mean", "amax", "amin")
    if counted and set(dims) & set(facts.evaluation.batch_axes(source)):
        known = known & value.eq(0).all()  # else it depends on the number of examples
    rest = [v for name, v in node.arguments.items() if name != "input"]
    facts.put(Ref(node), known, OPERATORS[node.operator].call(value, *rest))


def _move(facts: Facts, node: Node) -> None:
    """What moves numbers moves what is known of them."""
    refs = facts.tensors(node)
    found = {ref: facts.fact(ref) for ref in refs}
    if all(fact is None for fact in found.values()) and node.operator != "pad":
        return
    known, value = {}, {}
    for ref, fact in found.items():
        shape = facts.shape(ref)
        none = torch.zeros([1] * len(shape), dtype=torch.bool)
        known[ref] = (none if fact is None else fact.known).expand(shape)
        value[ref] = (none.double() if fact is None else fact.value).expand(shape)
    filler = {"value": 1} if node.operator == "pad" else {}
    moved = facts.evaluation.recompute(node, {ref: k.float() for ref, k in known.items()}, **filler)
    values = facts.evaluation.recompute(node, value)
    for index, (k, v) in enumerate(zip(moved, values, strict=True)):
        facts.put(Ref(node, index), k.bool(), v)


def _pick(facts: Facts, node: Node) -> None:
    source = node.arguments["input"]
    fact, kept = facts.fact(source), facts.weight(node.arguments["kept"])
    if fact is not None:
        whole = [*fact.known.shape[:-1], len(kept)]
        known, value = fact.known.expand(whole), fact.value.expand(whole)
        facts.put(Ref(node), known[..., kept], value[..., kept])


def _contract(facts: Facts, node: Node) -> None:
    """An output unit is a constant if it reads nothing but constants."""
    contraction = facts.contraction(node)
    if contraction is None:
        if node.operator == "matmul":
            _zero_products(facts, node)
        return
    shape = facts.shape(Ref(node))
    view = [1] * len(shape)
    view[contraction.output_axis] = -1
    known, value = contraction.constants()
    facts.put(Ref(node), known.reshape(view), value.reshape(view))


def _zero_products(facts: Facts, node: Node) -> None:
    """A product of two matrices is zero in rows or columns where one factor is."""
    refs = [node.arguments[name] for name in ("input", "other")]
    if min(len(facts.shape(ref)) for ref in refs) < 2:
        return
    known = torch.zeros([1] * len(facts.shape(Ref(node))), dtype=torch.bool)
    for ref, inner in zip(refs, (-1, -2), strict=True):
        fact = facts.fact(ref)
        if fact is not None:
            known = known | (fact.known & fact.value.eq(0)).all(inner, keepdim=True)
    facts.put(Ref(node), known, torch.zeros_like(known, dtype=torch.float64))


def _embedding(facts: Facts, node: Node) -> None:
    if not facts.evaluation.is_static(node.arguments["weight"]):
        return
    weight = facts.weight(node.arguments["weight"])
    known = weight.eq(weight[:1]).all(0)
    view = [1] * (len(facts.shape(Ref(node))) - 1) + [-1]
    facts.put(Ref(node), known.reshape(view), weight[0].double().reshape(view))


def _attention(facts: Facts, node: Node) -> None:
    """Where all values are one constant, so is any weighted mean of them.

    Under a mask a query may look at nothing, which gives zero: then that holds for zeros alone.
    """
    value, mask = node.arguments["value"], node.arguments["attn_mask"]
    fact, heads = facts.fact(value), facts.shape(value)[:-2]
    if fact is not None and node.arguments["enable_gqa"]:
        times = facts.shape(Ref(node))[-3] // heads[-1]
        fact, heads = _spread(fact, times), (*heads[:-1], times * heads[-1])
    if fact is None or heads != facts.shape(Ref(node))[:-2]:
        return
    fact = fact.uniform((fact.known.dim() - 2,))
    known = fact.known if mask is None else fact.known & fact.value.eq(0)
    facts.put(Ref(node), known, fact.value)


def _spread(fact: Fact, times: int) -> Fact:
    """The same with each head so many times in a row."""
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    if known.shape[-3] == 1:
        return fact
    return Fact(known.repeat_interleave(times, -3), value.repeat_interleave(times, -3))


def _einsum(facts: Facts, node: Node) -> None:
    """The result is zero where an operand is zero along one of its letters."""
    if not is_plain(node):
        return
    outputs, found = letters_of(node)[1], lettered(node, facts.shape)
    known = torch.zeros([1] * len(outputs), dtype=torch.bool)
    for place, letter in enumerate(outputs):
        zero = torch.stack(zeros_of(facts, found[letter])).any(0)
        known = known | along(zero, place, len(outputs))
    if outputs:
        facts.put(Ref(node), known, torch.zeros_like(known, dtype=torch.float64))


def _factory(facts: Facts, node: Node) -> None:
    if node.operator == "full":
        ones = [1] * len(facts.shape(Ref(node)))
        dtype = getattr(torch, node.arguments["dtype"] or "float32")
        dtype = torch.float64 if dtype.is_floating_point else dtype
        value = torch.full(ones, node.arguments["value"], dtype=dtype)
        facts.put(Ref(node), torch.ones(ones, dtype=torch.bool), value)


def _recurrent(facts: Facts, node: Node) -> None:
    silent = silent_units(facts, node)
    for index, known in enumerate(silent):
        facts.put(Ref(node, index), known, torch.zeros_like(known, dtype=torch.float64))


CONSTANT_RULES_BY_FAMILY: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.CHANNEL_NORM: _channels,
    Family.GROUP_NORM: _group_norm,
    Family.WINDOW: _window,
    Family.REDUCE: _reduce,
    Family.MOVE: _move,
    Family.CONTRACT: _contract,
    Family.ATTENTION: _attention,
    Family.RECURRENT: _recurrent,
    Family.FACTORY: _factory,
}
CONSTANT_RULES: dict[str, Rule] = {
    "prelu": _channels,
    "embedding": _embedding,
    "einsum": _einsum,
    "pick": _pick,
}
