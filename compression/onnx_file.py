"""A network as ONNX, with QuantizeLinear and DequantizeLinear around its integers.

Weights on a uniform grid of at most 8 bits are int8 codes behind a DequantizeLinear, or uint8 ones
around 128 where they are beyond what int8 sums have room for on every processor; others are
float32. A `QuantisedReLU` is one QuantizeLinear (to uint8, or uint16 above 8 bits), which rounds
halves to even as it does and ends at 0, and a Clip if its codes end below the full width. Pooling,
flattening and selection are of codes; DequantizeLinear stands before the next layer. Where inputs
and weights of a layer are integers, its bias is int32 on the product of their steps, so that a
runtime can make the layer one of integers. That step is as fine as that allows: codes of few bits
are stored times a power of two, and the step divided by it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from .chain import leaves_of
from .common_step import common_step
from .file import save
from .integer_layers import IntegerInput
from .quantised_relu import QuantisedReLU
from .select import Select

if TYPE_CHECKING:
    import onnx

OPSET = 21  # the first with uint16 codes
IR_VERSION = 10  # of that opset's time: newer ones are refused by older runtimes
# Of the weights' codes: twice the product of 255 and this fits int16, in which processors without
# instructions for four 8-bit products add up two of uint8 and int8 (not of uint8 and uint8).
_ROOM = 64
_IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


def to_onnx(
    network: nn.Module, inputs: IntegerInput | None = None, shape: Sequence[int] | None = None
) -> onnx.ModelProto:
    """The ONNX model of a network: input "x", batch first, float32; output "logits", float32.

    :param network: an nn.Sequential, nested or not, of Linear, Conv1d, Conv2d, ReLU, QuantisedReLU,
        MaxPool1d, MaxPool2d, Flatten of all but the batch, Select, Identity and Dropout.
    :param inputs: quantise inputs so, as an integer network does, so that the first layer may be
        one of integers, too; default: they stay floats. Codes must be 0..255 or fewer.
    :param shape: of one input, without the batch; default: what the first layer takes, images of
        any size if it is a Conv, one row of features if it is a Flatten or Linear.
    :raises ValueError: the layer that has no form here, by name; or the package onnx is missing.
    """
    graph = _Graph(_import_onnx())
    if inputs is not None:
        if inputs.low < 0:
            raise ValueError(f"inputs of an ONNX model have codes 0..255, not from {inputs.low} on")
        graph.quantise("inputs", float(inputs.step), inputs.high)
    for path, layer in leaves_of(network):
        try:
            graph.add(path or "layer", layer)
        except ValueError as error:
            raise ValueError(f"layer {path!r} {error}") from None
    return graph.model(_input_shape(network) if shape is None else ["batch", *shape])


def save_onnx(
    network: nn.Module,
    path: str | os.PathLike,
    inputs: IntegerInput | None = None,
    shape: Sequence[int] | None = None,
) -> onnx.ModelProto:
    """Write `to_onnx` to a file, whole or not at all; returns it.

    :raises ValueError: as there.
    :raises OSError: the file cannot be written.
    """
    model = to_onnx(network, inputs, shape)
    save(model.SerializeToString(), path)
    return model


def integer_weights(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """The names of the weights that a model of `to_onnx` holds as codes, and of those as floats."""
    names = [value.name for value in model.graph.initializer]
    integers = [name.removesuffix(".codes") for name in names if name.endswith(".weight.codes")]
    return integers, [name for name in names if name.endswith(".weight")]


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ValueError(
            "export needs the package onnx, which is not installed: pip install 'bitsback[onnx]'"
        ) from None
    return onnx


class _Graph:
    """Nodes and initialisers so far, and what the tensor at the end of them is.

    :param at: its name; `step` and `kind`: of its codes, None where it holds floats.
    """

    def __init__(self, onnx: Any) -> None:
        self.onnx, self.nodes, self.values = onnx, [], []
        self.at, self.step, self.kind = "x", None, None

    def add(self, name: str, layer: nn.Module) -> None:
        """Append a layer; ValueError with the end of a sentence about it."""
        if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d):
            self.weighted(name, layer)
        elif type(layer) is QuantisedReLU:
            self.quantise(name, layer.step, 2**layer.bits - 1)
        elif type(layer) is nn.ReLU:
            self.floats()
            self.node("Relu", name, [self.at])
        elif type(layer) in (nn.MaxPool1d, nn.MaxPool2d) and not layer.return_indices:
            self.pool(name, layer)
        elif type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            self.node("Flatten", name, [self.at], axis=1)
        elif type(layer) is Select:
            kept = self.value(f"{name}.kept", layer.kept.nonzero()[:, 0].cpu().numpy())
            self.node("Gather", name, [self.at, kept], axis=-1)
        elif type(layer) not in _IDLE:
            raise ValueError(
                f"is a {type(layer).__name__}({layer.extra_repr()}), which cannot be exported; "
                "Linear, Conv1d, Conv2d, ReLU, QuantisedReLU, MaxPool and Flatten of all but the "
                "batch can"
            )

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> None:
        """A node whose output is the end of the graph from now on."""
        made = self.onnx.helper.make_node(kind, inputs, [f"{name}.out"], name=name, **attributes)
        self.nodes.append(made)
        self.at = f"{name}.out"

    def value(self, name: str, array: np.ndarray) -> str:
        """An initialiser; its name."""
        self.values.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def grid(self, name: str, step: float, kind: type, zero: int = 0) -> list[str]:
        """Step and zero point, as QuantizeLinear and DequantizeLinear take them."""
        point = self.value(f"{name}.zero", np.array(zero, kind))
        return [self.value(f"{name}.step", np.array(step, np.float32)), point]

    def quantise(self, name: str, step: float, most: int) -> None:
        """The end of the graph as codes 0..most."""
        self.floats()
        kind = np.uint8 if most < 256 else np.uint16
        if most < np.iinfo(kind).max and kind is np.uint16:  # runtimes have no Clip of uint16
            self.clip(name, np.array(most * step, np.float32))
        grid = self.grid(name, step, kind)
        self.node("QuantizeLinear", f"{name}.quantise", [self.at, *grid])
        self.kind, self.step = kind, step
        if most < np.iinfo(kind).max and kind is np.uint8:
            self.clip(name, np.array(most, kind))

    def clip(self, name: str, high: np.ndarray) -> None:
        ends = [self.value(f"{name}.low", np.zeros_like(high)), self.value(f"{name}.high", high)]
        self.node("Clip", f"{name}.clip", [self.at, *ends])

    def floats(self) -> None:
        """Turn the end of the graph into floats, if it holds codes."""
        if self.step is not None:
            name = f"{self.at}.dequantise"
            self.node("DequantizeLinear", name, [self.at, *self.grid(name, self.step, self.kind)])
            self.step = self.kind = None

    def weighted(self, name: str, layer: nn.Module) -> None:
        step_in = self.step if self.kind is np.uint8 else None
        self.floats()
        values = layer.weight.detach().cpu().float().numpy()
        bias = np.zeros(len(values), np.float32)
        if layer.bias is not None:
            bias = layer.bias.detach().cpu().float().numpy()
        weight, step = self.weight(f"{name}.weight", values, bias, step_in)
        inputs = [self.at, weight]
        if layer.bias is not None:
            inputs.append(self.bias(f"{name}.bias", bias, step, step_in))
        if isinstance(layer, nn.Linear):
            self.node("Gemm", name, inputs, transB=1)
            return
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(
                f"pads {layer.padding!r} by {layer.padding_mode!r}; only numbers of zeros can be "
                "exported"
            )
        self.node(
            "Conv", name, inputs, strides=layer.stride, pads=[*layer.padding, *layer.padding],
            dilations=layer.dilation, group=layer.groups,
        )  # fmt: skip

    def weight(
        self, name: str, values: np.ndarray, bias: np.ndarray, step_in: float | None
    ) -> tuple[str, float | None]:
        """The name of a weight, and its step if it is of codes.

        :param bias: on the product of both steps, sums must fit int32 with it; else all is floats.
        """
        try:
            codes, step = common_step(values)
        except ValueError:
            return self.value(name, values), None
        largest = int(np.abs(codes).max(initial=0))
        if largest > 127:
            return self.value(name, values), None
        spare = max((_ROOM // max(largest, 1)).bit_length() - 1, 0)
        if step_in is not None:
            sums = 255 * np.abs(codes).reshape(len(codes), -1).sum(1)
            offsets = np.abs(bias.astype(np.float64)) / (step * step_in) + 1
            while spare >= 0 and ((sums + offsets) * 2**spare).max(initial=0) > 2**31 - 1:
                spare -= 1
            if spare < 0:
                return self.value(name, values), None
        codes, step, kind, zero = codes << spare, step / 2**spare, np.int8, 0
        if largest << spare > _ROOM:
            kind, zero = np.uint8, 128
        codes = self.value(f"{name}.codes", (codes + zero).astype(kind))
        inputs = [codes, *self.grid(name, step, kind, zero)]
        return self.beside(name, inputs), step

    def bias(self, name: str, values: np.ndarray, step: float | None, step_in: float | None) -> str:
        """The name of a bias, of int32 codes if both steps are given: they fit, see `weight`."""
        if step is None or step_in is None:
            return self.value(name, values)
        # The product of the float32 steps, as a runtime computes it.
        unit = float(np.float32(step) * np.float32(step_in))
        codes = np.rint(values.astype(np.float64) / unit).astype(np.int32)
        codes = self.value(f"{name}.codes", codes)
        return self.beside(name, [codes, *self.grid(name, unit, np.int32)])

    def beside(self, name: str, inputs: list[str]) -> str:
        """DequantizeLinear of initialisers; the end of the graph stays where it is."""
        end = self.at
        self.node("DequantizeLinear", name, inputs)
        made, self.at = self.at, end
        return made

    def pool(self, name: str, layer: nn.MaxPool1d | nn.MaxPool2d) -> None:
        if self.kind is np.uint16:
            self.floats()  # there is no MaxPool of 16 bits
        dims = 1 if isinstance(layer, nn.MaxPool1d) else 2
        size, stride, padding, dilation = (
            v if isinstance(v, tuple) else (v,) * dims
            for v in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        self.node(
            "MaxPool", name, [self.at], kernel_shape=size, strides=stride,
            pads=[*padding, *padding], dilations=dilation, ceil_mode=int(layer.ceil_mode),
        )  # fmt: skip

    def model(self, shape: list[str | int]) -> onnx.ModelProto:
        self.floats()
        helper, float32 = self.onnx.helper, self.onnx.TensorProto.FLOAT
        self.node("Identity", "logits", [self.at])
        self.nodes[-1].output[0] = "logits"
        graph = helper.make_graph(
            self.nodes, "bitsback", [helper.make_tensor_value_info("x", float32, shape)],
            [helper.make_tensor_value_info("logits", float32, None)], self.values,
        )  # fmt: skip
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        made = self.onnx.shape_inference.infer_shapes(made)  # of the logits, too
        self.onnx.checker.check_model(made)
        return made


def _input_shape(network: nn.Module) -> list[str | int]:
    """The shape of the inputs as far as the first layers say it."""
    for _, layer in leaves_of(network):
        if isinstance(layer, nn.Conv1d):
            return ["batch", layer.in_channels, "length"]
        if isinstance(layer, nn.Conv2d):
            return ["batch", layer.in_channels, "height", "width"]
        if isinstance(layer, nn.Linear | Select):
            return ["batch", getattr(layer, "in_features", None) or layer.kept.numel()]
    raise ValueError("a network without Linear and Conv layers is not exported")
