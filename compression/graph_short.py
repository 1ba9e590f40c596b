"""A traced network as a sequence of layers, where it is one: for the short forms of files."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..graph.ir import INPUT, Graph, Node, Ref
from .graph_parts import Described, Entry
from .layers import SELECT, Layer
from .nodes import Chain, TensorSpec, canonical_names, walk
from .torch_layers import describe_layer

Shapes = dict[Node, tuple[int, ...]]


def as_chain(described: Described) -> Chain | None:
    """The layers of a network whose operators stand in one line; None if they do not.

    Each parameter has the name that it has in an `nn.Sequential` of the reference networks' names.
    """
    graph = described.graph
    if not _is_line(graph) or graph.aliases:
        return None
    shapes = {entry.node: entry.shape for entry in described.entries}
    layers = []
    for node in graph.operators:
        make = _LAYERS.get(node.operator)
        layer = make(node, shapes) if make else None
        if layer is None:
            return None
        layers.append(layer)
    chain = Chain(canonical_names(tuple(layers)), tuple(layers))
    known = {spec.name: spec for spec in walk(chain, "", "float32")}
    given = {entry.node.name: _spec(entry) for entry in described.entries}
    return chain if known == given else None


def _spec(entry: Entry) -> TensorSpec:
    return TensorSpec(entry.node.name, entry.shape, entry.role, entry.dtype)


def _is_line(graph: Graph) -> bool:
    """Whether each operator takes the result of the one before and parameters, nothing else."""
    before = next((node for node in graph.nodes if node.operator == INPUT), None)
    if len(graph.inputs) != 1 or graph.signature != ((0,), {}):
        return False
    for node in graph.operators:
        refs = node.refs()
        if refs[:1] != [Ref(before)] or any(r.node.operator != "parameter" for r in refs[1:]):
            return False
        before = node
    return graph.outputs == Ref(before)


def _shape(node: Node, name: str, shapes: Shapes) -> tuple[int, ...]:
    return shapes.get(node.arguments[name].node, ())


def _linear(node: Node, shapes: Shapes) -> Layer | None:
    shape, biased = _shape(node, "weight", shapes), node.arguments["bias"] is not None
    if len(shape) != 2:
        return None
    return describe_layer(nn.Linear(shape[1], shape[0], biased, device="meta"))


def _conv(node: Node, shapes: Shapes) -> Layer | None:
    shape, arguments = _shape(node, "weight", shapes), node.arguments
    if len(shape) != 4:
        return None
    rows, columns, *kernel = shape
    names = ("stride", "padding", "dilation")
    groups, biased = arguments["groups"], arguments["bias"] is not None
    options = [arguments[name] for name in names]
    inputs = columns * groups
    return describe_layer(
        nn.Conv2d(inputs, rows, tuple(kernel), *options, groups, biased, device="meta")
    )


def _max_pool(node: Node, shapes: Shapes) -> Layer | None:
    a = node.arguments
    stride = a["stride"] if any(a["stride"]) else a["kernel_size"]
    return describe_layer(
        nn.MaxPool2d(
            a["kernel_size"], stride, a["padding"], a["dilation"], ceil_mode=a["ceil_mode"]
        )
    )


def _flatten(node: Node, shapes: Shapes) -> Layer | None:
    return describe_layer(nn.Flatten(node.arguments["start_dim"], node.arguments["end_dim"]))


def _pick(node: Node, shapes: Shapes) -> Layer | None:
    shape = _shape(node, "kept", shapes)
    return Layer(SELECT, {"of": shape[0]}) if len(shape) == 1 else None


_LAYERS: dict[str, Callable[[Node, Shapes], Layer | None]] = {
    "linear": _linear,
    "conv2d": _conv,
    "max_pool2d": _max_pool,
    "flatten": _flatten,
    "pick": _pick,
    "relu": lambda node, shapes: describe_layer(nn.ReLU()),
}
