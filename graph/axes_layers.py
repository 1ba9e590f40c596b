"""How layers and functions treat axes: which units they join, carry on or freeze."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .ir import Node, Ref
from .operators import Family, window_axes
from .table import OPERATORS
from .units import Axis, free, size_of, tracked

if TYPE_CHECKING:
    from .axes import Axes

Rule = Callable[["Axes", Node], None]


def _elementwise(axes: Axes, node: Node) -> None:
    axes.put(node, axes.broadcast([axes.of(ref) for ref in node.refs()]))


def _prelu(axes: Axes, node: Node) -> None:
    if not _is_static(axes, node, "weight"):
        axes.give_up(node)
        return
    source, weight = axes.of(node.arguments["input"]), axes.of(node.arguments["weight"])
    if size_of(weight[0]) > 1 and len(source) > 1:
        axes.tie(source[1], weight[0])
    axes.put(node, source)


def _linear(axes: Axes, node: Node) -> None:
    if not _is_layer(axes, node, "input", "weight", "bias"):
        axes.give_up(node)
        return
    source, weight = axes.of(node.arguments["input"]), axes.of(node.arguments["weight"])
    axes.tie(source[-1], weight[1])
    _tie_bias(axes, node, weight[0])
    axes.put(node, [*source[:-1], weight[0]])


def _tie_bias(axes: Axes, node: Node, outputs: Axis) -> None:
    bias = node.arguments.get("bias")
    if bias is not None:
        axes.tie(axes.of(bias)[0], outputs)


def _is_static(axes: Axes, node: Node, *names: str) -> bool:
    """Whether arguments do not depend on the network's inputs."""
    refs = [node.arguments.get(name) for name in names]
    return all(ref is None or axes.evaluation.is_static(ref) for ref in refs)


def _is_layer(axes: Axes, node: Node, source: str, *names: str) -> bool:
    """Whether an argument depends on the network's inputs, and the others do not."""
    return not _is_static(axes, node, source) and _is_static(axes, node, *names)


def _convolution(axes: Axes, node: Node) -> None:
    if not _is_layer(axes, node, "input", "weight", "bias"):
        axes.give_up(node)
        return
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
    if not _is_static(axes, node, "weight"):
        axes.give_up(node)
        return
    indices, weight = axes.of(node.arguments["indices"]), axes.of(node.arguments["weight"])
    axes.freeze(weight[0])
    axes.put(node, [*indices, weight[1]])


def _addmm(axes: Axes, node: Node) -> None:
    bias, left, right = (axes.of(node.arguments[name]) for name in ("input", "mat1", "mat2"))
    if (
        not _is_layer(axes, node, "mat1", "mat2", "input")
        or len(bias) != 1
        or size_of(bias[0]) == 1
    ):
        axes.give_up(node)
        return
    axes.tie(left[-1], right[0])
    axes.tie(bias[0], right[1])
    axes.put(node, [left[0], right[1]])


def _window(axes: Axes, node: Node) -> None:
    """The last axes are pooled; whatever stands before them goes by itself."""
    source = axes.of(node.arguments["input"])
    count = window_axes(node.operator, len(source))
    for axis in source[-count:]:
        axes.freeze(axis)
    spatial = [free(n) for n in axes.shape(Ref(node))[-count:]]
    axes.put(node, [*source[:-count], *spatial])


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
    if not _is_static(axes, node, "weight", "bias", "running_mean", "running_var"):
        axes.give_up(node)
        return
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
            axes.freeze_all(node.arguments[name])
    for axis in source[-count:]:
        axes.freeze(axis)
    axes.put(node, source)


def _recurrent(axes: Axes, node: Node) -> None:
    """All layers and directions have the same hidden units, since their size is one number."""
    gates = {"lstm": 4, "gru": 3}.get(node.operator, 1)
    params, directions = node.arguments["params"], 1 + node.arguments["bidirectional"]
    each = 4 if node.arguments["has_biases"] else 2
    layers = node.arguments["num_layers"]
    states = node.arguments["hx"]
    states = states if isinstance(states, tuple) else (states,)
    if len(params) != each * directions * layers:  # a projection
        axes.give_up(node)
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
    axes.put_number(node)


FAMILY_RULES: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.WINDOW: _window,
    Family.REDUCE: _reduce,
    Family.ALONG: _along,
    Family.CHANNEL_NORM: _channel_norm,
    Family.GROUP_NORM: _group_norm,
    Family.RECURRENT: _recurrent,
    Family.FACTORY: _factory,
    Family.INTEGER: _integer,
}
LAYER_RULES: dict[str, Rule] = {
    "linear": _linear,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution for n in (1, 2, 3)},
    "embedding": _embedding,
    "addmm": _addmm,
    "prelu": _prelu,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
}
