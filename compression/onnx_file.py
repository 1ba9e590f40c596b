"""A network as ONNX, its weights and activations as integers where they are such.

Weights on a uniform grid of at most 8 bits are int8 codes behind a DequantizeLinear, or uint8 ones
around 128 where they are beyond what int8 sums have room for on every processor; others are
float32. A `quantised_relu` is one QuantizeLinear (to uint8, or uint16 above 8 bits), which rounds
halves to even as it does and ends at 0, and a Clip if its codes end below the full width. Max
pooling and movements are of codes; DequantizeLinear stands before anything else. Where inputs and
weights of a layer are integers, its bias is int32 on the product of their steps, so that a runtime
can make the layer one of integers. That step is as fine as that allows: codes of few bits are
stored times a power of two, and the step divided by it.

How each operator is written is in `deploy`, one function for each.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from ..graph import GraphNetwork
from .deploy.check import check
from .deploy.export import input_names, model_of
from .deploy.shapes import Shapes, on_cpu
from .file import save
from .integer_layers import IntegerInput
from .layer_graph import fitting_shape, graph_of, is_sequence

if TYPE_CHECKING:
    import onnx


def to_onnx(
    network: nn.Module,
    inputs: IntegerInput | None = None,
    shape: Sequence[int] | None = None,
    example: Any = None,
) -> onnx.ModelProto:
    """The ONNX model of a network in eval mode, batch first, the batch of any size.

    The only input is called "x", the only output "logits". Several inputs have the names of the
    forward's arguments, or x0, x1 and so on; outputs in a dictionary have its keys, others are
    output_0 and so on. Initialisers have state_dict names. Characters other than letters, digits,
    points and underscores become underscores, and names that are taken get a number.

    :param network: a graph, an nn.Sequential of the layers that a file describes, or any other
        module, which is traced.
    :param inputs: quantise floating-point inputs so, as an integer network does, so that the first
        layer may be one of integers, too; default: they stay floats. Codes must be 0..255 or fewer.
    :param shape: of one input, without the batch. Default for a sequence of layers: what the first
        layer takes, images of any height and width if it is a convolution.
    :param example: what `graph.trace` takes; needed for any other module, if no shape is given.
    :raises ValueError: the operator and the layer that cannot be exported, and why; the shape of
        the inputs cannot be told; or the package onnx is missing.
    """
    return _Export(network, inputs, shape, example).model


def save_onnx(
    network: nn.Module,
    path: str | os.PathLike[str],
    inputs: IntegerInput | None = None,
    shape: Sequence[int] | None = None,
    example: Any = None,
) -> onnx.ModelProto:
    """Write a network as an ONNX model, whole or not at all.

    If onnxruntime is installed, the model is run before it is written, on batches of 1 and 3 random
    examples, under basic optimisation (docs/operators.md says why). Its outputs must be the
    network's: to 1e-4 of the largest output, or to 0.1 of it where ReLUs or inputs are quantised,
    since a value on the edge between two codes may get the other one.

    :param network: a graph, a sequence of layers as `bitsback.load` gives it, or any other module,
        which is traced.
    :param path: of the file.
    :param inputs: quantise floating-point inputs so, as an integer network does; default: they
        stay floats.
    :param shape: of one input, without the batch; default: what the first layer takes.
    :param example: what `bitsback.trace` takes; needed for any other module without a shape.
    :returns: the model that was written.
    :raises ValueError: an operator has no ONNX form, as `to_onnx` says; or onnxruntime
        computes something else than the network.
    :raises OSError: the file cannot be written.

    >>> bitsback.save_onnx(bitsback.load("net.bb"), "net.onnx")
    """
    export = _Export(network, inputs, shape, example)
    data = export.model.SerializeToString()
    check(data, export.graph, export.shapes, export.names, inputs)
    save(data, path)
    return export.model


def integer_weights(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """The names of the weights that a model of `to_onnx` holds as codes, and of those as floats."""
    integers, floats = [], []
    for value in model.graph.initializer:
        name = value.doc_string
        if name.endswith("weight") and value.name.endswith(".codes"):
            integers.append(name)
        elif name.endswith("weight") and len(value.dims) > 1:
            floats.append(name)
    return integers, floats


class _Export:
    """A model beside what it was made of."""

    def __init__(
        self, network: nn.Module, inputs: IntegerInput | None, shape: Any, example: Any
    ) -> None:
        onnx = _import_onnx()
        if inputs is not None and inputs.low < 0:
            raise ValueError(f"inputs of an ONNX model have codes 0..255, not from {inputs.low} on")
        is_open = shape is None and example is None and is_sequence(network)
        shape = tuple(shape) if shape is not None else None
        if is_open:
            shape = fitting_shape(network)
        self.graph = on_cpu(graph_of(network, shape, example))
        self.shapes = Shapes(self.graph, is_open)
        self.names = input_names(self.graph.graph, _arguments(network))
        self.model = model_of(onnx, self.graph.graph, self.shapes, inputs, self.names)


def _arguments(network: nn.Module) -> list[str]:
    """The names of a module's inputs."""
    if isinstance(network, GraphNetwork):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(network.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ValueError(
            "export needs the package onnx, which is not installed: pip install 'bitsback[onnx]'"
        ) from None
    return onnx
