"""One output unit of a contraction: computed alone, and what each of its weights does to it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from .follow import Along
from .ir import PARAMETER, Node, Ref
from .table import OPERATORS

_SWAPPED = ("matmul", "addmm", "embedding")


class OneUnit:
    """A dense layer, convolution or embedding whose weight is a parameter of its own.

    :param node: see `weight_of`.
    :param rank: number of axes of its result.
    :param weight: the parameter's tensor; changed in place where its integers are.
    :param bias: the bias's tensor, None if there is none.
    """

    def __init__(self, node: Node, rank: int, weight: Tensor, bias: Tensor | None) -> None:
        self.node, self.weight, self.bias = node, weight, bias
        self._transposed = node.operator.startswith("conv_transpose")
        self._swapped = self._transposed or node.operator in _SWAPPED
        self._convolves = node.operator.startswith("conv")
        self.place = Along(1 if self._convolves else rank - 1)

    @property
    def source(self) -> Ref:
        """The value that it reads."""
        return self.node.arguments[_source_name(self.node)]

    def by_unit(self, values: Tensor) -> Tensor:
        """A tensor of the weight's shape as a matrix, shape (units, weights of each)."""
        return (values.transpose(0, 1) if self._swapped else values).flatten(1)

    def whole(self, rows: Tensor) -> Tensor:
        """Such rows as a tensor of the weight's shape again."""
        shape = list(self.weight.shape)
        if self._swapped:
            shape[0], shape[1] = shape[1], shape[0]
            return rows.reshape(shape).transpose(0, 1)
        return rows.reshape(shape)

    def change(self, unit: int, at: int, by: float) -> None:
        """Add `by` to weight number `at` of a unit."""
        row = self.weight[:, unit] if self._swapped else self.weight[unit]
        row[torch.unravel_index(torch.tensor(at), row.shape)] += by

    def result(self, h: Tensor, weight: Tensor) -> Tensor:
        """Outputs of all units."""
        return self._call(h, weight, self.bias)

    def of_unit(self, h: Tensor, unit: int) -> Tensor:
        """Outputs of one unit, the axis of units of size 1."""
        weight = self.weight.narrow(1 if self._swapped else 0, unit, 1)
        bias = None if self.bias is None else self.bias[unit : unit + 1]
        return self._call(self._read(h, unit), weight, bias, groups=1)

    def of_weight(self, h: Tensor, unit: int, at: int) -> Tensor:
        """What a unit gets from a weight of 1 in place `at` of its own: mostly a part of h."""
        if self.node.operator == "embedding":
            return (h == at).to(self.weight.dtype).unsqueeze(-1)
        if not self._convolves:
            return h[..., at : at + 1]
        size = self.weight.shape[2:]
        taps = prod(size)
        h = self._read(h, unit)[:, at // taps : at // taps + 1]
        if self._transposed:
            kernel = one_hot(torch.tensor(at % taps, device=h.device), taps).to(h)
            return self._call(h, kernel.reshape(1, 1, *size), None, groups=1)
        return self._tap(h, size, at % taps)

    def _read(self, h: Tensor, unit: int) -> Tensor:
        """The input channels that a unit reads: those of its group."""
        groups = self.node.arguments.get("groups", 1)
        if groups == 1:
            return h
        inputs = self.weight.shape[1]
        return h.narrow(1, unit // (len(self.weight) // groups) * inputs, inputs)

    def _tap(self, h: Tensor, size: torch.Size, tap: int) -> Tensor:
        """The inputs that one tap of a kernel takes."""
        strides, dilations = self.node.arguments["stride"], self.node.arguments["dilation"]
        pads = _padding(self.node, size)
        if any(pads):
            h = pad(h, pads)
        part = [slice(None), slice(None)]
        for axis, offset in enumerate(torch.unravel_index(torch.tensor(tap), size)):
            first = int(offset) * dilations[axis]
            behind = h.shape[axis + 2] - dilations[axis] * (size[axis] - 1) + first
            part.append(slice(first, behind, strides[axis]))
        return h[tuple(part)]

    def _call(self, h: Tensor, weight: Tensor, bias: Tensor | None, **changed: Any) -> Tensor:
        operator = self.node.operator
        call = OPERATORS[operator].call
        if operator == "embedding":
            return call(weight, h)
        if operator == "matmul":
            return call(h, weight)
        if operator == "addmm":
            return call(bias, h, weight)
        if operator == "linear":
            return call(h, weight, bias)
        options = {
            name: value
            for name, value in self.node.arguments.items()
            if name not in ("input", "weight", "bias")
        }
        return call(h, weight, bias, **{**options, **changed})


def _padding(node: Node, size: torch.Size) -> list[int]:
    """Zeros around the axes of a map, as `torch.nn.functional.pad` takes them."""
    padding, result = node.arguments["padding"], []
    for axis in reversed(range(len(size))):
        if padding == "same":
            total = node.arguments["dilation"][axis] * (size[axis] - 1)
            result += [total // 2, total - total // 2]
        else:
            result += [padding[axis], padding[axis]]
    return result


def _source_name(node: Node) -> str:
    return {"addmm": "mat1", "embedding": "indices"}.get(node.operator, "input")


def weight_of(node: Node, shape: Callable[[Ref], tuple[int, ...]]) -> tuple[Ref, Ref | None] | None:
    """The weight and the bias of an operator whose units `OneUnit` can compute one by one.

    :returns: None if it is none such, or the weight is no parameter; the bias may be any value.
    """
    operator, arguments = node.operator, node.arguments
    if operator == "matmul":
        weight, bias = arguments["other"], None
    elif operator == "addmm":
        weight, bias = arguments["mat2"], arguments["input"]
    elif operator in ("linear", "embedding") or operator.startswith("conv"):
        weight, bias = arguments["weight"], arguments.get("bias")
        if operator.startswith("conv_transpose") and arguments["groups"] > 1:
            return None
    else:
        return None
    flat = operator in ("matmul", "addmm", "linear", "embedding")
    if weight.node.operator != PARAMETER or (flat and len(shape(weight)) != 2):
        return None
    units = shape(weight)[1 if operator in _SWAPPED or "transpose" in operator else 0]
    fits = bias is None or (bias.node.operator == PARAMETER and shape(bias) == (units,))
    return (weight, bias) if fits else None
