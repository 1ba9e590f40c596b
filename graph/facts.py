"""What is known of a graph's values: which positions are constants, and which are never read.

Both are found for the network as it stands, in eval mode, whatever the inputs. A `Fact` of a value
has the value's rank, and size 1 along axes where it is the same everywhere, so that a dead channel
takes one number however large its feature map is. Constants are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluate import Evaluation
from .ir import Node, Ref
from .operators import Family
from .recurrent import read_inputs, silent_units
from .table import OPERATORS


@dataclass(frozen=True)
class Fact:
    """Which positions of a value are constants, and which.

    :param known: bool, of the value's rank; size 1 where an axis makes no difference.
    :param value: the constants, float64 (or the value's own dtype if it is no float), of a shape
        that broadcasts against `known`; of no meaning where not known.
    """

    known: Tensor
    value: Tensor

    def uniform(self, axes: tuple[int, ...]) -> Fact:
        """The same with size 1 along these axes: known where all along them is one constant."""
        known, value = torch.broadcast_tensors(self.known, self.value)
        for axis in axes:
            if known.shape[axis] != 1:
                same = (value == value.narrow(axis, 0, 1)) & known
                known, value = same.all(axis, keepdim=True), value.narrow(axis, 0, 1)
        return Fact(known, value)

    def along(self, axis: int, size: int) -> tuple[Tensor, Tensor]:
        """known and value by the positions of one axis, shape (size,): the same elsewhere."""
        rank = self.known.dim()
        fact = self.uniform(tuple(d for d in range(rank) if d != axis % rank))
        return fact.known.reshape(-1).expand(size), fact.value.reshape(-1).expand(size)


class Facts:
    """Constants and reads of every value of a graph.

    :param evaluation: a run of the network, for shapes and static values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.graph = evaluation.graph
        self._facts: dict[Ref, Fact] = {}
        self._reads: dict[Ref, Tensor] = {}
        with torch.no_grad():
            for node in self.graph.operators:
                if not evaluation.is_static(Ref(node)):
                    self._learn(node)
            for ref in self.graph.output_refs():
                self._read(ref, torch.ones([1] * len(self.shape(ref)), dtype=torch.bool))
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

    def is_read(self, ref: Ref) -> Tensor | None:
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
        rule = _CONSTANTS_BY_NAME.get(node.operator) or _CONSTANTS.get(row.family)
        if rule is not None:
            rule(self, node)

    def _put(self, ref: Ref, known: Tensor, value: Tensor) -> None:
        """Keep what is known of a value, if anything is."""
        if value.is_floating_point():
            known = known & value.isfinite()
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
        rule = _READS_BY_NAME.get(node.operator) or _READS.get(row.family, _reads_all)
        rule(self, node)

    def _read(self, ref: Ref, read: Tensor) -> None:
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

    def tensors(self, node: Node) -> list[Ref]:
        """What an operator takes, sizes left out."""
        return [ref for ref in node.refs() if self.evaluation.is_tensor(ref)]

    def weight(self, ref: Ref) -> Tensor:
        """A static operand of a contraction, as it is, on the CPU."""
        return self.evaluation.static(ref).detach().cpu()


Rule = Callable[[Facts, Node], None]


# --- Constants, forward -----------------------------------------------------------------------------
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
    arguments = [found[v].value if isinstance(v, Ref) else v for v in node.arguments.values()]
    facts._put(Ref(node), known, row.call(*arguments))


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
    facts._put(Ref(node), known.expand(torch.broadcast_shapes(known.shape, [1] * rank)), a * b)


def _channels(facts: Facts, node: Node) -> None:
    """Norms and PReLU, with parameters for each channel."""
    row, source = OPERATORS[node.operator], node.arguments["input"]
    fact = facts.fact(source)
    if fact is None:
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
    facts._put(Ref(node), fact.known.expand_as(value), row.call(*arguments))


def _group_norm(facts: Facts, node: Node) -> None:
    """A group whose channels are constants, the same at all positions, gives constants."""
    source = node.arguments["input"]
    fact, shape = facts.fact(source), facts.shape(source)
    if fact is None or "num_groups" not in node.arguments:
        return
    known, value = fact.along(1, shape[1])
    groups = node.arguments["num_groups"]
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
    facts._put(Ref(node), known, result.reshape(view))


def _window(facts: Facts, node: Node) -> None:
    fact = facts.fact(node.arguments["input"])
    if fact is None:
        return
    fact = fact.uniform(tuple(range(2, fact.known.dim())))
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    if node.arguments.get("divisor_override"):
        known = known & value.eq(0)
    if any(node.arguments.get("padding") or ()) and node.arguments.get("count_include_pad"):
        known = known & value.eq(0)
    facts._put(Ref(node), known, value)


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
    rest = [v for name, v in node.arguments.items() if name != "input"]
    facts._put(Ref(node), known, OPERATORS[node.operator].call(value, *rest))


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
    moved = _run(facts, node, {ref: k.to(torch.uint8) for ref, k in known.items()}, filler)
    values = _run(facts, node, value, {})
    for index, (k, v) in enumerate(zip(moved, values, strict=True)):
        facts._put(Ref(node, index), k.bool(), v)


def _run(facts: Facts, node: Node, tensors: dict[Ref, Tensor], changed: dict) -> tuple[Tensor, ...]:
    """An operator computed on other tensors; its results."""

    def given(value):
        if isinstance(value, Ref):
            return tensors[value] if value in tensors else facts.evaluation.number(value)
        if isinstance(value, tuple):
            return tuple(given(part) for part in value)
        return value

    arguments = [given(changed.get(name, v)) for name, v in node.arguments.items()]
    result = OPERATORS[node.operator].call(*arguments)
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def _pick(facts: Facts, node: Node) -> None:
    source = node.arguments["input"]
    fact, kept = facts.fact(source), facts.weight(node.arguments["kept"])
    if fact is not None:
        whole = [*fact.known.shape[:-1], len(kept)]
        known, value = fact.known.expand(whole), fact.value.expand(whole)
        facts._put(Ref(node), known[..., kept], value[..., kept])


def _contract(facts: Facts, node: Node) -> None:
    """An output unit is a constant if it reads nothing but constants."""
    contraction = contraction_of(facts, node)
    if contraction is None:
        return
    shape = facts.shape(Ref(node))
    view = [1] * len(shape)
    view[contraction.output_axis] = -1
    known, value = contraction.constants()
    facts._put(Ref(node), known.reshape(view), value.reshape(view))


def _embedding(facts: Facts, node: Node) -> None:
    weight = facts.weight(node.arguments["weight"])
    known = weight.eq(weight[:1]).all(0)
    view = [1] * (len(facts.shape(Ref(node))) - 1) + [-1]
    facts._put(Ref(node), known.reshape(view), weight[0].double().reshape(view))


def _attention(facts: Facts, node: Node) -> None:
    """Where all values are one constant, so is any weighted mean of them."""
    fact = facts.fact(node.arguments["value"])
    if fact is not None:
        fact = fact.uniform((fact.known.dim() - 2,))
        facts._put(Ref(node), fact.known, fact.value)


def _factory(facts: Facts, node: Node) -> None:
    if node.operator == "full":
        ones = [1] * len(facts.shape(Ref(node)))
        value = torch.full(ones, float(node.arguments["value"]), dtype=torch.float64)
        facts._put(Ref(node), torch.ones(ones, dtype=torch.bool), value)


def _recurrent(facts: Facts, node: Node) -> None:
    silent = silent_units(facts, node)
    for index, known in enumerate(silent):
        facts._put(Ref(node, index), known, torch.zeros_like(known, dtype=torch.float64))


# --- Contractions -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Contraction:
    """A linear map from an axis of channels to another, of one node.

    :param source: the value whose channels are read, along `input_axis`.
    :param matrix: which weights are not zero, bool, shape (outputs, inputs).
    :param sums: the weights summed over kernel entries, float64, of the same shape.
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
        if not value.any():
            return torch.zeros_like(self.bias)
        return self.sums() @ value


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
        static = facts.evaluation.is_static(weight) and not facts.evaluation.is_static(source)
        matrix = facts.weight(weight).T if static and len(facts.shape(weight)) == 2 else None
    if matrix is None or (bias is not None and not facts.evaluation.is_static(bias)):
        return None
    if bias is not None and facts.shape(bias) != (len(matrix),):
        return None
    known, value = _channel_facts(facts, source, -1)
    added = _bias(facts, bias, len(matrix))
    return Contraction(
        node, source, -1, -1, matrix.ne(0), matrix.double, added, known, value,
        torch.ones_like(known),
    )  # fmt: skip


def _kernel(facts: Facts, node: Node) -> Contraction | None:
    source, weight, bias = (node.arguments[k] for k in ("input", "weight", "bias"))
    if not facts.evaluation.is_static(weight):
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


# --- Reads, backward --------------------------------------------------------------------------------
def _reads_all(facts: Facts, node: Node) -> None:
    for ref in facts.tensors(node):
        facts._read(ref, torch.ones([1] * len(facts.shape(ref)), dtype=torch.bool))


def _reads_elementwise(facts: Facts, node: Node) -> None:
    read = facts._reads[Ref(node)]
    for ref in node.refs():
        mine, shape = read, facts.shape(ref)
        if node.operator == "mul":
            for other in node.refs():
                fact = facts.fact(other) if other != ref else None
                if fact is not None:
                    mine = mine & ~(fact.known & fact.value.eq(0))
        mine = mine.reshape([1] * (len(shape) - mine.dim()) + list(mine.shape))
        while mine.dim() > len(shape):
            mine = mine.any(0)
        for axis, size in enumerate(shape):
            if size == 1 and mine.shape[axis] > 1:
                mine = mine.any(axis, keepdim=True)
        facts._read(ref, mine)


def _reads_channels(facts: Facts, node: Node) -> None:
    facts._read(node.arguments["input"], facts._reads[Ref(node)])


def _reads_group_norm(facts: Facts, node: Node) -> None:
    source, shape = node.arguments["input"], facts.shape(node.arguments["input"])
    groups = node.arguments.get("num_groups", shape[1])
    read = facts.read_along(Ref(node), 1).reshape(groups, -1)
    read = read.any(1, keepdim=True).expand_as(read).reshape(1, -1, *[1] * (len(shape) - 2))
    facts._read(source, read)


def _reads_window(facts: Facts, node: Node) -> None:
    read = facts._reads[Ref(node)]
    for axis in range(2, read.dim()):
        read = read.any(axis, keepdim=True)
    facts._read(node.arguments["input"], read)


def _reads_reduced(facts: Facts, node: Node) -> None:
    source, read = node.arguments["input"], facts._reads[Ref(node)]
    rank, dims = len(facts.shape(source)), node.arguments["dim"]
    dims = sorted(d % rank for d in (range(rank) if dims is None else dims))
    for d in dims if not node.arguments["keepdim"] else ():
        read = read.unsqueeze(d)
    facts._read(source, read)


def _reads_along(facts: Facts, node: Node) -> None:
    axis = node.arguments["dim"]
    facts._read(node.arguments["input"], facts._reads[Ref(node)].any(axis, keepdim=True))


def _reads_moved(facts: Facts, node: Node) -> None:
    """What is read of the results, moved back: the transpose of a linear map of zeros and ones."""
    refs = list(dict.fromkeys(facts.tensors(node)))
    with torch.enable_grad():
        inputs = {ref: torch.zeros(facts.shape(ref), requires_grad=True) for ref in refs}
        results = _run(facts, node, inputs, {})
    grads = []
    for index, result in enumerate(results):
        read = facts._reads.get(Ref(node, index))
        shape = result.shape
        grads.append(torch.zeros(shape) if read is None else read.float().expand(shape))
    found = torch.autograd.grad(results, list(inputs.values()), grads, allow_unused=True)
    for ref, grad in zip(refs, found, strict=True):
        if grad is not None:
            facts._read(ref, _collapsed(grad.ne(0)))


def _collapsed(read: Tensor) -> Tensor:
    for axis in range(read.dim()):
        if read.shape[axis] > 1 and bool((read == read.narrow(axis, 0, 1)).all()):
            read = read.narrow(axis, 0, 1)
    return read


def _reads_picked(facts: Facts, node: Node) -> None:
    source, kept = node.arguments["input"], facts.weight(node.arguments["kept"])
    read = torch.zeros(len(kept), dtype=torch.bool)
    read[kept] = facts.read_along(Ref(node), -1)
    facts._read(source, read.reshape([1] * (len(facts.shape(source)) - 1) + [-1]))


def _reads_contracted(facts: Facts, node: Node) -> None:
    contraction = contraction_of(facts, node)
    if contraction is None:
        _reads_all(facts, node)
        return
    rows = facts.read_along(Ref(node), contraction.output_axis)
    read = (contraction.matrix & rows[:, None]).any(0)
    view = [1] * len(facts.shape(contraction.source))
    view[contraction.input_axis] = -1
    facts._read(contraction.source, read.reshape(view))


def _reads_attention(facts: Facts, node: Node) -> None:
    read = facts._reads[Ref(node)]
    at = read.any(-2, keepdim=True)
    facts._read(node.arguments["value"], at)
    for name in ("query", "key"):
        facts._read(node.arguments[name], at.any(-1, keepdim=True))
    mask = node.arguments["attn_mask"]
    if mask is not None:
        facts._read(mask, torch.ones([1] * len(facts.shape(mask)), dtype=torch.bool))


def _reads_recurrent(facts: Facts, node: Node) -> None:
    for ref, read in read_inputs(facts, node):
        facts._read(ref, read)


_CONSTANTS: dict[Family, Rule] = {
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
_CONSTANTS_BY_NAME: dict[str, Rule] = {
    "prelu": _channels,
    "embedding": _embedding,
    "pick": _pick,
}
_READS: dict[Family, Rule] = {
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
_READS_BY_NAME: dict[str, Rule] = {
    "prelu": _reads_channels,
    "embedding": _reads_all,
    "pick": _reads_picked,
}
