"""`Writer`: the ONNX nodes and constants of a graph, as the forms of its operators append them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...graph.ir import PARAMETER, Node, Ref
from ..common_step import common_step
from .shapes import Shapes

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 18, 8
WIDE_OPSET, WIDE_IR_VERSION = 21, 10  # the first with codes of 16 bits
# Of the weights' codes: twice the product of 255 and this fits int16, in which processors without
# instructions for four 8-bit products add up two of uint8 and int8 (not of uint8 and uint8).
_ROOM = 64
_FOLDED = 1 << 16  # elements of a constant that is always computed here, not by the runtime


@dataclass(frozen=True)
class Codes:
    """A value of the graph as integers: `name` holds them, each times `step` is the value."""

    name: str
    step: float
    kind: type


class Writer:
    """Collects nodes and constants; a form calls it with a `Ref` for the name of that value.

    :param shapes: of the network's values.
    :param taken: names of inputs and outputs, which nothing else gets.
    """

    def __init__(self, onnx: Any, shapes: Shapes, taken: set[str]) -> None:
        self.onnx, self.shapes = onnx, shapes
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.codes: dict[Ref, Codes] = {}
        self.wide = any(
            node.operator == "quantised_relu" and node.arguments["bits"] > 8
            for node in shapes.graph
        )
        self.where = ""  # what names are made of: the module, or the operator
        self._names: dict[Ref, str] = {}
        self._taken = set(taken)
        self._made: dict[Any, Any] = {}

    # --- values -------------------------------------------------------------------------------

    def __call__(self, ref: Ref, dtype: torch.dtype | None = None) -> str:
        """The name of a value, as numbers and not as codes.

        :param dtype: cast to it, where it is another.
        """
        if ref not in self._names:
            self._names[ref] = self._value(ref)
        name = self._names[ref]
        if dtype is not None and dtype != self.shapes.dtype(ref):
            name = self.cast(name, dtype)
        return name

    def _value(self, ref: Ref) -> str:
        if ref in self.codes:
            codes = self.codes[ref]
            grid = self.grid(codes.name, codes.step, codes.kind)
            return self.op("DequantizeLinear", codes.name, *grid)
        value = self.shapes.static(ref)
        if not isinstance(value, Tensor):
            return self.constant(np.array(value, np.int64))
        if ref.node.operator == PARAMETER:
            return self.weight(ref)[0]
        return self.constant(value, name=f"{ref.node.scope or ref.node.operator}.value")

    def set(self, ref: Ref, name: str) -> None:
        """Say which name holds a value."""
        self._names[ref] = name

    def forget(self, ref: Ref) -> None:
        """Let the name of a value's numbers be found again, from its codes."""
        self._names.pop(ref, None)

    @contextmanager
    def naming(self, ref: Ref, name: str) -> Iterator[None]:
        """Let a value have another name meanwhile."""
        own = self._names.get(ref)
        self._names[ref] = name
        try:
            yield
        finally:
            self.forget(ref)
            if own is not None:
                self._names[ref] = own

    def is_constant(self, node: Node) -> bool:
        """Whether a node's values are constants that are written down as such."""
        value = self.shapes.static(Ref(node))
        if not isinstance(value, Tensor):
            return value is not None
        sizes = [self.shapes.static(ref) for ref in node.refs()]
        if not sizes:  # a factory
            return True
        largest = max((s.numel() for s in sizes if isinstance(s, Tensor)), default=0)
        return value.numel() <= max(_FOLDED, largest)

    def operand(self, value: Any, dtype: torch.dtype) -> str:
        """The name of a value or number, in that dtype."""
        if isinstance(value, Ref):
            return self(value, dtype)
        return self.constant(torch.tensor(value, dtype=dtype))

    def sizes(self, shape: tuple[Any, ...]) -> str:
        """A shape, int64 of shape (axes,), of numbers and values of the graph."""
        if not any(isinstance(size, Ref) for size in shape):
            return self.constant(np.array(shape, np.int64))
        parts = [
            self.op("Reshape", self(size), self.constant(np.array([1], np.int64)))
            if isinstance(size, Ref)
            else self.constant(np.array([size], np.int64))
            for size in shape
        ]
        return self.op("Concat", *parts, axis=0)

    def shape(self, ref: Ref) -> tuple[int | None, ...]:
        """Of a value; None for sizes that depend on the inputs."""
        return self.shapes.shape(ref)

    def spatial(self, ref: Ref, what: str) -> tuple[int, ...]:
        """The sizes behind the channels.

        :raises ValueError: they are not known.
        """
        sizes = self.shape(ref)[2:]
        if any(size is None for size in sizes):
            raise ValueError(f"needs the size of its inputs for {what}: give an example or a shape")
        return sizes

    # --- nodes --------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str, results: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its result, or a tuple of them if there are several."""
        name = self.unique(self.where or kind)
        outputs = [self.unique(f"{name}.out") for _ in range(results)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            self.onnx.helper.make_node(kind, list(inputs), outputs, name=name, **attributes)
        )
        return outputs[0] if results == 1 else tuple(outputs)

    def ints(self, *numbers: int) -> str:
        """A constant of whole numbers, int64, one axis."""
        return self.constant(np.array(numbers, np.int64))

    def cast(self, name: str, dtype: torch.dtype) -> str:
        return self.op("Cast", name, to=self.kind(dtype))

    def kind(self, dtype: torch.dtype) -> int:
        """ONNX's number of a dtype.

        :raises ValueError: it has none that runtimes know.
        """
        try:
            array = torch.zeros(0, dtype=dtype).numpy()
            return self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"computes in {dtype}, which cannot be exported") from None

    def constant(self, value: np.ndarray | Tensor, name: str = "", original: str = "") -> str:
        """A constant; its name. Equal ones without a name of their own are one.

        :param original: the state_dict name that it is of.
        """
        if isinstance(value, Tensor):
            self.kind(value.dtype)
            value = value.detach().cpu().numpy()
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (str(array.dtype), array.shape, array.tobytes()) if not name else None
        if key in self._made:
            return self._made[key]
        made = self.unique(name or f"{self.where or 'graph'}.constant")
        tensor = self.onnx.numpy_helper.from_array(array, made)
        if original:
            tensor.doc_string = original
        self.constants.append(tensor)
        if key is not None:
            self._made[key] = made
        return made

    def unique(self, name: str) -> str:
        """The name without characters that runtimes may refuse, with a number if it is taken."""
        stem = re.sub(r"[^A-Za-z0-9_.]", "_", name) or "_"
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    # --- integers -----------------------------------------------------------------------------

    def grid(self, name: str, step: float, kind: type, zero: int = 0) -> list[str]:
        """Step and zero point, as QuantizeLinear and DequantizeLinear take them."""
        point = self.constant(np.array(zero, kind), f"{name}.zero")
        return [self.constant(np.array(step, np.float32), f"{name}.step"), point]

    def weight(
        self,
        ref: Ref,
        change: Any = None,
        step_in: float | None = None,
        bias: np.ndarray | None = None,
    ) -> tuple[str, float | None]:
        """The name of a parameter, and its step if it is held as codes of 8 bits.

        Weights on a uniform grid are int8 codes behind a DequantizeLinear, or uint8 ones around 128
        where they are beyond what int8 sums have room for on every processor.

        :param change: a function of the array that is held in its place, such as a transposition.
        :param step_in: of the inputs' codes, and
        :param bias: on the product of both steps, sums must fit int32 with it; else all is floats.
        """
        name = ref.node.name
        key = (name, change, step_in, None if bias is None else bias.tobytes())
        if key not in self._made:
            self._made[key] = self._weight(name, ref, change, step_in, bias)
        return self._made[key]

    def _weight(
        self, name: str, ref: Ref, change: Any, step_in: float | None, bias: np.ndarray | None
    ) -> tuple[str, float | None]:
        tensor = self.shapes.static(ref)
        found = None
        if name in self.shapes.weights and tensor.dtype == torch.float32:
            found = self._integers(tensor.detach().cpu().numpy(), step_in, bias)
        if found is None:
            value = tensor.detach() if change is None else change(tensor.detach())
            return self.constant(value, name, name), None
        codes, step, zero = found
        codes = codes if change is None else change(torch.from_numpy(codes)).numpy()
        stored = self.constant(codes, f"{name}.codes", name)
        inputs = [stored, *self.grid(name, step, codes.dtype.type, zero)]
        return self.op("DequantizeLinear", *inputs), step

    def _integers(
        self, values: np.ndarray, step_in: float | None, bias: np.ndarray | None
    ) -> tuple[np.ndarray, float, int] | None:
        """Codes, step and zero point; None for values that are not on a grid of 8 bits."""
        try:
            codes, step = common_step(values)
        except ValueError:
            return None
        largest = int(np.abs(codes).max(initial=0))
        if largest > 127:
            return None
        spare = max((_ROOM // max(largest, 1)).bit_length() - 1, 0)
        if step_in is not None:
            sums = 255 * np.abs(codes).reshape(len(codes), -1).sum(1)
            offsets = np.abs(bias.astype(np.float64)) / (step * step_in) + 1
            while spare >= 0 and ((sums + offsets) * 2**spare).max(initial=0) > 2**31 - 1:
                spare -= 1
            if spare < 0:
                return None
        codes, step, kind, zero = codes << spare, step / 2**spare, np.int8, 0
        if largest << spare > _ROOM:
            kind, zero = np.uint8, 128
        return (codes + zero).astype(kind), step, zero

    def bias(self, ref: Ref, step: float | None, step_in: float | None) -> str:
        """The name of a bias, of int32 codes if both steps are given: they fit, see `weight`."""
        value = self.shapes.static(ref)
        if step is None or step_in is None or ref.node.operator != PARAMETER:
            return self(ref)
        name = ref.node.name
        # The product of the float32 steps, as a runtime computes it.
        unit = float(np.float32(step) * np.float32(step_in))
        codes = np.rint(value.detach().cpu().numpy().astype(np.float64) / unit).astype(np.int32)
        codes = self.constant(codes, f"{name}.codes", name)
        return self.op("DequantizeLinear", codes, *self.grid(name, unit, np.int32))

    def quantise(self, name: str, source: str, step: float, most: int) -> Codes:
        """A value as codes 0..most: one QuantizeLinear, which rounds halves to even."""
        kind = np.uint8 if most < 256 else np.uint16
        narrow = most < np.iinfo(kind).max
        if narrow and kind is np.uint16:  # runtimes have no Clip of uint16
            source = self._clip(name, source, np.array(most * step, np.float32))
        codes = self.op("QuantizeLinear", source, *self.grid(name, step, kind))
        if narrow and kind is np.uint8:
            codes = self._clip(name, codes, np.array(most, kind))
        return Codes(codes, step, kind)

    def _clip(self, name: str, source: str, high: np.ndarray) -> str:
        low = self.constant(np.zeros_like(high), f"{name}.low")
        return self.op("Clip", source, low, self.constant(high, f"{name}.high"))
