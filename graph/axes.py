"""Which positions of which axes belong together: the units of a network.

`Axes` walks through a graph once. A parameter brings a new unit for each position of each of its
axes; operators join units, carry them on, or freeze them. What is left are the network's units: a
channel of a residual stream with all of its producers and readers is one, an attention head with
its rows of query, key and value is one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .evaluate import Evaluation
from .ir import INPUT, PARAMETER, Node, Ref
from .operators import Family
from .table import OPERATORS
from .units import Atom, Axis, Units, free, ids_of, regroup, size_of, tracked


class Axes:
    """The units at each position of each axis of a graph's values and parameters.

    :param evaluation: a run of the network, for shapes and static values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.graph = evaluation.graph
        self.units = Units()
        self._axes: dict[Ref, list[Axis]] = {}
        for node in self.graph.nodes:
            self._visit(node)
        for ref in self.graph.output_refs():
            self._freeze_all(ref)

    def ids(self, ref: Ref) -> list[np.ndarray | None]:
        """For each axis of a value the unit at each of its positions, or None for no units.

        Units that are tied to each other have the same number.
        """
        found = [ids_of(axis, self.units) for axis in self._axes[ref]]
        return [None if ids is None else self.units.find(ids) for ids in found]

    def refs(self) -> list[Ref]:
        """All values and parameters, in the order of computation."""
        return list(self._axes)

    # --- What the rules below are made of -----------------------------------------------------------

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

    def _freeze_all(self, ref: Ref) -> None:
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

    def _visit(self, node: Node) -> None:
        if node.operator == INPUT:
            self.put(node, [free(n) for n in self.shape(Ref(node))])
        elif node.operator == PARAMETER:
            shape = self.shape(Ref(node))
            self.put(node, [tracked(self.units.new(n)) if n else [Atom(0)] for n in shape])
        else:
            row = OPERATORS[node.operator]
            rule = _BY_NAME.get(node.operator) or _BY_FAMILY.get(row.family, _unknown)
            rule(self, node)


Rule = Callable[[Axes, Node], None]


def _unknown(axes: Axes, node: Node) -> None:
    """Nothing is known: all units of what the operator takes stay."""
    for ref in node.refs():
        axes._freeze_all(ref)
    for index in range(axes.evaluation.results(node)):
        ref = Ref(node, index)
        axes._axes[ref] = [free(n) if n else [Atom(0)] for n in axes.shape(ref)]


def _broadcast(axes: Axes, operands: list[list[Axis]]) -> list[Axis]:
    """The axes of an elementwise result, the operands' joined where they are not broadcast."""
    rank = max(len(operand) for operand in operands)
    result: list[Axis] = []
    for place in range(-rank, 0):
        here = [operand[place] for operand in operands if len(operand) >= -place]
        largest = max(size_of(axis) for axis in here)
        axis: Axis | None = None
        for other in here:
            if size_of(other) == largest:
                axis = other if axis is None else axes.tie(axis, other)
        result.append(axis or [])
    return result


def _elementwise(axes: Axes, node: Node) -> None:
    axes.put(node, _broadcast(axes, [axes.of(ref) for ref in node.refs()]))


def _prelu(axes: Axes, node: Node) -> None:
    source, weight = axes.of(node.arguments["input"]), axes.of(node.arguments["weight"])
    if size_of(weight[0]) > 1 and len(source) > 1:
        axes.tie(source[1], weight[0])
    axes.put(node, source)


def _linear(axes: Axes, node: Node) -> None:
    source, weight = axes.of(node.arguments["input"]), axes.of(node.arguments["weight"])
    axes.tie(source[-1], weight[1])
    _tie_bias(axes, node, weight[0])
    axes.put(node, [*source[:-1], weight[0]])


def _tie_bias(axes: Axes, node: Node, outputs: Axis) -> None:
    bias = node.arguments.get("bias")
    if bias is not None:
        axes.tie(axes.of(bias)[0], outputs)


def _convolution(axes: Axes, node: Node) -> None:
    source, weight = axes.of(node.arguments["input"]), axes.of(node.arguments["weight"])
    for axis in (*weight[2:], *source[2:]):
        axes.freeze(axis)
    up = node.operator.startswith("conv_transpose")
    groups = node.arguments["groups"]
    if groups == 1:
        inputs, outputs = (weight[0], weight[1]) if up else (weight[1], weight[0])
        axes.tie(source[1], inputs)
    else:
        outputs = _grouped(axes, source[1], weight, groups, up)
    _tie_bias(axes, node, outputs)
    spatial = [free(n) for n in axes.shape(Ref(node))[2:]]
    axes.put(node, [source[0], outputs, *spatial])


def _grouped(axes: Axes, source: Axis, weight: list[Axis], groups: int, up: bool) -> Axis:
    """Inputs and outputs of a group live or die together; its share of inputs has no units."""
    inputs = axes.known_ids(source).reshape(groups, -1)
    rows = axes.known_ids(weight[0]).reshape(groups, -1)
    axes.freeze(weight[1])
    outputs = rows
    if up:
        axes.units.join(inputs, rows)
        outputs = axes.units.new(groups * size_of(weight[1])).reshape(groups, -1)
    if inputs.shape[1] > 1 or (up and outputs.shape[1] > 1):
        axes.units.join(inputs[:, :1], inputs)
    axes.units.join(inputs[:, :1], outputs)
    return tracked(outputs.reshape(-1))


def _embedding(axes: Axes, node: Node) -> None:
    indices, weight = axes.of(node.arguments["indices"]), axes.of(node.arguments["weight"])
    axes.freeze(weight[0])
    axes.put(node, [*indices, weight[1]])


def _matmul(axes: Axes, node: Node) -> None:
    left, right = (node.arguments[name] for name in ("input", "other"))
    a, b = axes.of(left), axes.of(right)
    if min(len(a), len(b)) < 2:
        _unknown(axes, node)
        return
    static = axes.evaluation.is_static(left) or axes.evaluation.is_static(right)
    if static and min(len(a), len(b)) == 2:
        axes.tie(a[-1], b[-2])
    else:
        axes.freeze(a[-1])
        axes.freeze(b[-2])
    batch = _broadcast(axes, [a[:-2], b[:-2]]) if len(a) > 2 or len(b) > 2 else []
    axes.put(node, [*batch, a[-2], b[-1]])


def _addmm(axes: Axes, node: Node) -> None:
    bias, left, right = (axes.of(node.arguments[name]) for name in ("input", "mat1", "mat2"))
    static = axes.evaluation.is_static(node.arguments["mat2"])
    if not static or len(bias) != 1:
        _unknown(axes, node)
        return
    axes.tie(left[-1], right[0])
    axes.tie(bias[0], right[1])
    axes.put(node, [left[0], right[1]])


def _window(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    for axis in source[2:]:
        axes.freeze(axis)
    spatial = [free(n) for n in axes.shape(Ref(node))[2:]]
    axes.put(node, [*source[:2], *spatial])


def _reduce(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    dims = node.arguments["dim"]
    reduced = {d % len(source) for d in (range(len(source)) if dims is None else dims)}
    for d in reduced:
        axes.freeze(source[d])
    keep = node.arguments["keepdim"]
    result = [[] if d in reduced else axis for d, axis in enumerate(source)]
    axes.put(node, [axis for d, axis in enumerate(result) if keep or d not in reduced])


def _along(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    axes.freeze(source[node.arguments["dim"]])
    axes.put(node, source)


def _channel_norm(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if node.arguments.get(name) is not None:
            axes.tie(source[1], axes.of(node.arguments[name])[0])
    axes.put(node, source)


def _group_norm(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    groups = node.arguments.get("num_groups", size_of(source[1]))
    for axis in source[2:]:
        axes.freeze(axis)
    ids = axes.known_ids(source[1]).reshape(groups, -1)
    axes.units.join(ids[:, :1], ids)
    _channel_norm(axes, node)


def _layer_norm(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    count = len(node.arguments["normalized_shape"])
    for name in ("weight", "bias"):
        if node.arguments.get(name) is not None:
            axes._freeze_all(node.arguments[name])
    for axis in source[-count:]:
        axes.freeze(axis)
    axes.put(node, source)


def _attention(axes: Axes, node: Node) -> None:
    refs = [node.arguments[name] for name in ("query", "key", "value")]
    query, key, value = (axes.of(ref) for ref in refs)
    mask = node.arguments["attn_mask"]
    if mask is not None:
        axes._freeze_all(mask)
    if node.arguments["enable_gqa"]:
        for axis in (*query[:-2], *key[:-2], *value[:-2]):
            axes.freeze(axis)
        heads = query[:-2]
    else:
        heads = _broadcast(axes, [query[:-2], key[:-2], value[:-2]])
    for axis in (query[-1], key[-1], query[-2], key[-2], value[-2]):
        axes.freeze(axis)
    axes.put(node, [*heads, query[-2], value[-1]])


def _recurrent(axes: Axes, node: Node) -> None:
    """All layers and directions have the same hidden units, since their size is one number."""
    gates = {"lstm": 4, "gru": 3}.get(node.operator, 1)
    params, directions = node.arguments["params"], 1 + node.arguments["bidirectional"]
    each = 4 if node.arguments["has_biases"] else 2
    layers = node.arguments["num_layers"]
    states = node.arguments["hx"]
    states = states if isinstance(states, tuple) else (states,)
    if len(params) != each * directions * layers:  # a projection
        _unknown(axes, node)
        return
    size = axes.shape(params[1])[1]
    hidden = axes.units.new(size)
    source = axes.of(node.arguments["input"])
    below = source[-1]
    for place in range(0, len(params), each):
        inputs, loops, *biases = params[place : place + each]
        if place and place % (each * directions) == 0:
            below = tracked(np.tile(hidden, directions))
        axes.tie(axes.of(inputs)[1], below)
        axes.tie(axes.of(loops)[1], tracked(hidden))
        for ref in (inputs, loops, *biases):
            axes.tie(axes.of(ref)[0], tracked(np.tile(hidden, gates)))
    for ref in states:
        axes.freeze(axes.of(ref)[0])
        axes.tie(axes.of(ref)[-1], tracked(hidden))
    state = [*axes.of(states[0])[:-1], tracked(hidden)]
    output = [*source[:-1], tracked(np.tile(hidden, directions))]
    axes.put(node, output, *([state] * (OPERATORS[node.operator].results - 1)))


def _factory(axes: Axes, node: Node) -> None:
    shape = axes.shape(Ref(node))
    sizes = node.arguments.get("size")
    if sizes is None:
        axes.put(node, [free(n) for n in shape])
        return
    fixed = [isinstance(n, Ref) for n in sizes]
    axes.put(
        node,
        [
            free(n) if f or n < 2 else tracked(axes.units.new(n))
            for n, f in zip(shape, fixed, strict=True)
        ],
    )


def _integer(axes: Axes, node: Node) -> None:
    axes._axes[Ref(node)] = []


def _reshape(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    axes.put(node, regroup(source, axes.shape(Ref(node)), axes.units))


def _transpose(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    a, b = node.arguments["dim0"], node.arguments["dim1"]
    result[a], result[b] = result[b], result[a]
    axes.put(node, result)


def _permute(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    axes.put(node, [source[d] for d in node.arguments["dims"]])


def _unsqueeze(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    result.insert(node.arguments["dim"] % (len(result) + 1), [])
    axes.put(node, result)


def _squeeze(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    gone = {d % len(source) for d in node.arguments["dim"]}
    axes.put(node, [axis for d, axis in enumerate(source) if d not in gone])


def _expand(axes: Axes, node: Node) -> None:
    source, shape = axes.of(node.arguments["input"]), axes.shape(Ref(node))
    source = [*[[]] * (len(shape) - len(source)), *source]
    axes.put(node, [a if size_of(a) == n else free(n) for a, n in zip(source, shape, strict=True)])


def _cat(axes: Axes, node: Node) -> None:
    operands = [axes.of(ref) for ref in node.arguments["tensors"]]
    rank = max(map(len, operands))
    operands = [operand for operand in operands if len(operand) == rank]
    dim = node.arguments["dim"] % rank
    result = []
    for d in range(rank):
        here = [operand[d] for operand in operands]
        if d == dim:
            if any(ids_of(axis, axes.units) is not None for axis in here):
                result.append(tracked(np.concatenate([axes.known_ids(axis) for axis in here])))
            else:
                result.append(free(sum(map(size_of, here))))
        else:
            result.append(_all_tied(axes, here))
    axes.put(node, result)


def _all_tied(axes: Axes, here: list[Axis]) -> Axis:
    axis = here[0]
    for other in here[1:]:
        axis = axes.tie(axis, other)
    return axis


def _stack(axes: Axes, node: Node) -> None:
    operands = [axes.of(ref) for ref in node.arguments["tensors"]]
    result = [_all_tied(axes, list(here)) for here in zip(*operands, strict=True)]
    result.insert(node.arguments["dim"] % (len(result) + 1), free(len(operands)))
    axes.put(node, result)


def _cut(axis: Axis, part: slice, axes: Axes) -> Axis:
    """Some positions of an axis."""
    ids = ids_of(axis, axes.units)
    if ids is None:
        return free(len(range(size_of(axis))[part]))
    return tracked(ids[part])


def _split(axes: Axes, node: Node) -> None:
    source, start, results = axes.of(node.arguments["input"]), 0, []
    dim = node.arguments["dim"] % len(source)
    for size in node.arguments["sizes"]:
        part = list(source)
        part[dim] = _cut(source[dim], slice(start, start + size), axes)
        results.append(part)
        start += size
    axes.put(node, *results)


def _slice(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    dim = node.arguments["dim"]
    start, end, step = (node.arguments[name] for name in ("start", "end", "step"))
    if step != 1:
        axes.freeze(result[dim])
    result[dim] = _cut(result[dim], slice(start, end, step), axes)
    axes.put(node, result)


def _one_of(axis: Axis, axes: Axes) -> None:
    """One slice is taken: of a split axis, slices are tied; other units stay."""
    if len(axis) == 1 and axis[0].axis is not None and axis[0].axis.is_open:
        axis[0].axis.joint.tie(axis[0].axis)
    else:
        axes.freeze(axis)


def _select(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    _one_of(result.pop(node.arguments["dim"]), axes)
    axes.put(node, result)


def _unbind(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    _one_of(result.pop(node.arguments["dim"]), axes)
    axes.put(node, *[result] * axes.evaluation.results(node))


def _pad(axes: Axes, node: Node) -> None:
    result, pads = list(axes.of(node.arguments["input"])), node.arguments["pad"]
    shape = axes.shape(Ref(node))
    for place in range(len(pads) // 2):
        dim, (before, after) = len(result) - 1 - place, pads[2 * place : 2 * place + 2]
        ids = ids_of(result[dim], axes.units)
        if (before, after) == (0, 0):
            continue
        if ids is None or node.arguments["mode"] != "constant" or min(before, after) < 0:
            axes.freeze(result[dim])
            result[dim] = free(shape[dim])
        else:
            ends = axes.units.new(before), axes.units.new(after)
            result[dim] = tracked(np.concatenate([ends[0], ids, ends[1]]))
    axes.put(node, result)


def _flip(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    for dim in node.arguments["dims"]:
        ids = ids_of(result[dim], axes.units)
        if ids is not None:
            result[dim] = tracked(ids[::-1].copy())
    axes.put(node, result)


def _roll(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    for dim in node.arguments["dims"] or range(len(result)):
        axes.freeze(result[dim])
    axes.put(node, result)


def _repeat(axes: Axes, node: Node) -> None:
    source, repeats = axes.of(node.arguments["input"]), node.arguments["repeats"]
    source = [*[[]] * (len(repeats) - len(source)), *source]
    result = []
    for axis, count in zip(source, repeats, strict=True):
        ids = ids_of(axis, axes.units)
        if count == 1:
            result.append(axis)
        elif ids is None or len(ids) == 1:
            axes.freeze(axis)
            result.append(free(size_of(axis) * count))
        else:
            result.append(tracked(np.tile(ids, count)))
    axes.put(node, result)


def _pick(axes: Axes, node: Node) -> None:
    source, kept = axes.of(node.arguments["input"]), node.arguments["kept"]
    axes.tie(source[-1], axes.of(kept)[0])
    ids = axes.known_ids(source[-1])
    chosen = axes.evaluation.static(kept).cpu().numpy()
    axes.put(node, [*source[:-1], tracked(ids[chosen])])


_BY_FAMILY: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.WINDOW: _window,
    Family.REDUCE: _reduce,
    Family.ALONG: _along,
    Family.CHANNEL_NORM: _channel_norm,
    Family.GROUP_NORM: _group_norm,
    Family.ATTENTION: _attention,
    Family.RECURRENT: _recurrent,
    Family.FACTORY: _factory,
    Family.INTEGER: _integer,
}
_BY_NAME: dict[str, Rule] = {
    "linear": _linear,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution for n in (1, 2, 3)},
    "embedding": _embedding,
    "matmul": _matmul,
    "addmm": _addmm,
    "prelu": _prelu,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "reshape": _reshape,
    "flatten": _reshape,
    "transpose": _transpose,
    "permute": _permute,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "cat": _cat,
    "stack": _stack,
    "split": _split,
    "slice": _slice,
    "select": _select,
    "unbind": _unbind,
    "pad": _pad,
    "flip": _flip,
    "roll": _roll,
    "repeat": _repeat,
    "pick": _pick,
}
