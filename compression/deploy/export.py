"""A graph as ONNX nodes: each operator by its form, integers passed on where they can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...graph import Graph, Node, Ref
from ...graph.ir import INPUT, Fixed
from ...graph.operators import Operator
from ...graph.table import OPERATORS
from ..integer_layers import IntegerInput
from . import (  # noqa: F401  (each registers its forms)
    constants,
    contractions,
    elementwise,
    functions,
    moves,
    norms,
    places,
    recurrent,
    windows,
)
from .forms import FORMS, module_of
from .shapes import Shapes
from .writer import IR_VERSION, OPSET, WIDE_IR_VERSION, WIDE_OPSET, Writer

if TYPE_CHECKING:
    import onnx

# Operators of one result that move codes, or choose among them, as they do the numbers themselves.
_OF_CODES = {
    "max_pool1d", "max_pool2d", "max_pool3d", "flatten", "reshape", "transpose", "permute",
    "unsqueeze", "squeeze", "pick", "slice", "select", "dropout", "feature_dropout",
    "alpha_dropout",
}  # fmt: skip
_SPATIAL = {3: ["length"], 4: ["height", "width"], 5: ["depth", "height", "width"]}
_COMPARED = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def model_of(
    onnx: Any, graph: Graph, shapes: Shapes, quantised: IntegerInput | None, names: list[str]
) -> onnx.ModelProto:
    """The ONNX model of a graph.

    :param quantised: how floating-point inputs become codes; None: they stay floats.
    :param names: of the inputs.
    :raises ValueError: the operator that cannot be exported, and why.
    """
    outputs = _outputs(graph)
    taken = {*names, *(name for name, _ in outputs)}
    writer = Writer(onnx, shapes, taken)
    sources = [node for node in graph if node.operator == INPUT]
    for node, name in zip(sources, names, strict=True):
        writer.set(Ref(node), name)
        if quantised is not None and shapes.dtype(Ref(node)).is_floating_point:
            label = "inputs" if len(sources) == 1 else f"{name}.inputs"
            step, most = float(quantised.step), quantised.high
            writer.codes[Ref(node)] = writer.quantise(label, name, step, most)
            writer.forget(Ref(node))
    for node in graph.operators:
        if not writer.is_constant(node):
            emit(writer, node)
    writer.where = ""
    for name, ref in outputs:
        source = writer(ref)
        made = onnx.helper.make_node("Identity", [source], [name], name=writer.unique(name))
        writer.nodes.append(made)
    return _model(writer, sources, names, outputs)


def emit(writer: Writer, node: Node) -> None:
    """Append the nodes of an operator, and note which names hold its results.

    :raises ValueError: it cannot be exported; the message names it and its module.
    """
    row, result = OPERATORS[node.operator], Ref(node)
    writer.where = module_of(node) or node.operator
    try:
        if row.name == "quantised_relu":
            source, step = writer(node.arguments["input"]), node.arguments["step"]
            most = 2 ** node.arguments["bits"] - 1
            writer.codes[result] = writer.quantise(writer.where, source, step, most)
            return
        if row.name in _OF_CODES and _emit_on_codes(writer, row, node):
            return
        names = _call(writer, row, node)
    except ValueError as error:
        where = f"layer {module_of(node)!r}: " if module_of(node) else ""
        raise ValueError(f"{where}operator {node.operator} {error}") from None
    names = names if isinstance(names, tuple) else (names,)
    for index, name in enumerate(names):
        writer.set(Ref(node, index), name)


def _emit_on_codes(writer: Writer, row: Operator, node: Node) -> bool:
    source = node.arguments["input"]
    codes = writer.codes.get(source)
    if codes is None or (row.name.startswith("max_pool") and codes.kind is not np.uint8):
        return False
    with writer.naming(source, codes.name):
        name = _call(writer, row, node)
    writer.codes[Ref(node)] = type(codes)(name, codes.step, codes.kind)
    return True


def _call(writer: Writer, row: Operator, node: Node) -> Any:
    found = FORMS.get(row.name)
    if found is not None:
        return found(writer, **node.arguments)
    if row.onnx is None:
        raise ValueError("has no ONNX form")
    arguments = [node.arguments[argument.name] for argument in row.arguments]
    if len(arguments) == 1:
        return writer.op(row.onnx, writer(arguments[0]))
    dtype = elementwise.common(writer, *arguments)
    if dtype == torch.bool and row.onnx in _COMPARED:
        dtype = torch.int32
    return elementwise.binary(writer, row.onnx, *arguments, dtype)


def input_names(graph: Graph, parameters: list[str]) -> list[str]:
    """A name for each input: its own if it is passed by name, "x" if it is the only one.

    :param parameters: of the traced network's forward, in order; may be fewer.
    """
    positional, named = graph.signature
    by_place = {
        str(place): name
        for place, name in enumerate(parameters)
        if name not in named and len(positional) > 1
    }
    found: dict[int, str] = {}
    for value, prefix in ((positional, "x"), (named, "")):
        for path, leaf in _leaves(value):
            if isinstance(leaf, Fixed):
                continue
            first = by_place.get(path[0]) if prefix else None
            parts = [first, *path[1:]] if first else [f"{prefix}{path[0]}", *path[1:]]
            found[leaf] = ".".join(parts)
    names = [found[number] for number in range(len(graph.inputs))]
    return ["x"] if names == ["x0"] else _valid(names)


def _outputs(graph: Graph) -> list[tuple[str, Ref]]:
    leaves = [(path, leaf) for path, leaf in _leaves(graph.outputs) if isinstance(leaf, Ref)]
    if not leaves:
        raise ValueError("the network returns no tensor")
    names = _valid([".".join(path) if path else "logits" for path, _ in leaves])
    return list(zip(names, (leaf for _, leaf in leaves), strict=True))


def _valid(names: list[str]) -> list[str]:
    """Names of letters, digits, points and underscores, each once; numbers become output_<n>."""
    writer, made = Writer.__new__(Writer), []
    writer._taken = set()
    for name in names:
        made.append(writer.unique(f"output_{name}" if name[:1].isdigit() else name))
    return made


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    parts = None
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, tuple | list):
        parts = enumerate(value)
    if parts is None:
        yield path, value
        return
    for key, part in parts:
        yield from _leaves(part, (*path, str(key)))


def _model(
    writer: Writer, sources: list[Node], names: list[str], outputs: list[tuple[str, Ref]]
) -> onnx.ModelProto:
    onnx, shapes = writer.onnx, writer.shapes
    helper = onnx.helper

    def described(name: str, ref: Ref, open_names: list[str]) -> Any:
        sizes: list[Any] = []
        for axis, size in enumerate(shapes.shape(ref)):
            if size is None and shapes.is_batch(ref, axis):
                size = "batch"
            elif size is None and axis >= 2 and open_names:
                size = open_names[axis - 2]
            sizes.append(size)
        kind = writer.kind(shapes.dtype(ref))
        return helper.make_tensor_value_info(name, kind, sizes)

    rank = len(shapes.shape(Ref(sources[0])))
    inputs = [
        described(name, Ref(node), _SPATIAL.get(rank, []) if shapes.is_open else [])
        for node, name in zip(sources, names, strict=True)
    ]
    results = [described(name, ref, []) for name, ref in outputs]
    graph = helper.make_graph(writer.nodes, "bitsback", inputs, results, writer.constants)
    opset, version = (WIDE_OPSET, WIDE_IR_VERSION) if writer.wide else (OPSET, IR_VERSION)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version
    )
    onnx.checker.check_model(made)
    return made
