"""ONNX forms of elementwise operators."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...graph.ir import Ref
from .forms import form
from .writer import Writer


def number(w: Writer, value: float, like: Ref) -> str:
    """A scalar of a value's dtype."""
    return w.constant(torch.tensor(value, dtype=w.shapes.dtype(like)))


@form("silu")
def silu(w: Writer, input: Ref) -> str:
    return w.op("Mul", w(input), w.op("Sigmoid", w(input)))


@form("mish")
def mish(w: Writer, input: Ref) -> str:
    return w.op("Mul", w(input), w.op("Tanh", w.op("Softplus", w(input))))


@form("hardsigmoid")
def hardsigmoid(w: Writer, input: Ref) -> str:
    return w.op("HardSigmoid", w(input), alpha=1 / 6, beta=0.5)


@form("relu6")
def relu6(w: Writer, input: Ref) -> str:
    return hardtanh(w, input, 0, 6)


@form("hardtanh")
def hardtanh(w: Writer, input: Ref, min_val: float, max_val: float) -> str:
    return w.op("Clip", w(input), number(w, min_val, input), number(w, max_val, input))


@form("clamp")
def clamp(w: Writer, input: Ref, min: float | None, max: float | None) -> str:
    dtype = torch.result_type(torch.zeros(1, dtype=w.shapes.dtype(input)), (min or 0) + (max or 0))
    ends = ["" if e is None else w.constant(torch.tensor(e, dtype=dtype)) for e in (min, max)]
    return w.op("Clip", w(input, dtype), *ends)


@form("log_sigmoid")
def log_sigmoid(w: Writer, input: Ref) -> str:
    return w.op("Neg", w.op("Softplus", w.op("Neg", w(input))))


@form("rsqrt")
def rsqrt(w: Writer, input: Ref) -> str:
    return w.op("Reciprocal", w.op("Sqrt", w(input)))


@form("square")
def square(w: Writer, input: Ref) -> str:
    return w.op("Mul", w(input), w(input))


@form("log1p")
def log1p(w: Writer, input: Ref) -> str:
    return w.op("Log", w.op("Add", w(input), number(w, 1, input)))


@form("expm1")
def expm1(w: Writer, input: Ref) -> str:
    return w.op("Sub", w.op("Exp", w(input)), number(w, 1, input))


@form("logical_not")
def logical_not(w: Writer, input: Ref) -> str:
    return w.op("Not", w(input, torch.bool))


@form("bitwise_not")
def bitwise_not(w: Writer, input: Ref) -> str:
    return w.op("Not" if w.shapes.dtype(input) == torch.bool else "BitwiseNot", w(input))


@form("rrelu")
def rrelu(w: Writer, input: Ref, lower: float, upper: float) -> str:
    """Out of training the slope is the middle of its range."""
    return leaky_relu(w, input, (lower + upper) / 2)


@form("leaky_relu")
def leaky_relu(w: Writer, input: Ref, negative_slope: float) -> str:
    return w.op("LeakyRelu", w(input), alpha=float(negative_slope))


@form("elu")
def elu(w: Writer, input: Ref, alpha: float) -> str:
    return w.op("Elu", w(input), alpha=float(alpha))


@form("celu")
def celu(w: Writer, input: Ref, alpha: float) -> str:
    return w.op("Celu", w(input), alpha=float(alpha))


@form("gelu")
def gelu(w: Writer, input: Ref, approximate: str) -> str:
    x = w(input)
    if approximate == "none":
        inner = w.op("Erf", w.op("Mul", x, number(w, math.sqrt(0.5), input)))
    else:
        cube = w.op("Mul", w.op("Mul", w.op("Mul", x, x), x), number(w, 0.044715, input))
        scale = number(w, math.sqrt(2 / math.pi), input)
        inner = w.op("Tanh", w.op("Mul", w.op("Add", x, cube), scale))
    half = w.op("Mul", x, number(w, 0.5, input))
    return w.op("Mul", half, w.op("Add", inner, number(w, 1, input)))


@form("softplus")
def softplus(w: Writer, input: Ref, beta: float, threshold: float) -> str:
    scale = number(w, beta, input)
    scaled = w.op("Mul", w(input), scale)
    smooth = w.op("Div", w.op("Softplus", scaled), scale)
    linear = w.op("Greater", scaled, number(w, threshold, input))
    return w.op("Where", linear, w(input), smooth)


@form("threshold")
def threshold(w: Writer, input: Ref, threshold: float, value: float) -> str:
    above = w.op("Greater", w(input), number(w, threshold, input))
    return w.op("Where", above, w(input), number(w, value, input))


@form("prelu")
def prelu(w: Writer, input: Ref, weight: Ref) -> str:
    axes = max(len(w.shape(input)) - 2, 0)
    slope = w.op("Reshape", w(weight), w.ints(-1, *[1] * axes))
    return w.op("PRelu", w(input), slope)


@form("softshrink")
def softshrink(w: Writer, input: Ref, lambd: float) -> str:
    return w.op("Shrink", w(input), lambd=float(lambd), bias=float(lambd))


@form("hardshrink")
def hardshrink(w: Writer, input: Ref, lambd: float) -> str:
    return w.op("Shrink", w(input), lambd=float(lambd), bias=0.0)


@form("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def dropout(w: Writer, input: Ref, p: float) -> str:
    return w.op("Identity", w(input))


@form("to")
def to(w: Writer, input: Ref, dtype: str) -> str:
    return w.cast(w(input), getattr(torch, dtype))


@form("nan_to_num")
def nan_to_num(
    w: Writer, input: Ref, nan: float | None = None, posinf: float | None = None,
    neginf: float | None = None,
) -> str:  # fmt: skip
    ends, x = torch.finfo(w.shapes.dtype(input)), w(input)
    for test, value, default in (
        ({}, nan, 0.0),
        ({"detect_negative": 0, "detect_positive": 1}, posinf, ends.max),
        ({"detect_negative": 1, "detect_positive": 0}, neginf, ends.min),
    ):
        found = w.op("IsInf" if test else "IsNaN", x, **test)
        x = w.op("Where", found, number(w, default if value is None else value, input), x)
    return x


def common(w: Writer, left: Any, right: Any) -> torch.dtype:
    """The dtype in which torch combines two operands."""

    def example(value: Any) -> Any:
        if not isinstance(value, Ref):
            return value
        if value.node.operator == "size" or value.node.operator.startswith("int_"):
            return 1
        return torch.zeros([1] * min(len(w.shape(value)), 1), dtype=w.shapes.dtype(value))

    return torch.result_type(example(left), example(right))


def binary(w: Writer, kind: str, left: Any, right: Any, dtype: torch.dtype | None = None) -> str:
    """An ONNX operator of two operands in the dtype that torch computes it in."""
    dtype = common(w, left, right) if dtype is None else dtype
    return w.op(kind, w.operand(left, dtype), w.operand(right, dtype))


@form("div")
def div(w: Writer, input: Any, other: Any) -> str:
    dtype = common(w, input, other)
    return binary(w, "Div", input, other, dtype if dtype.is_floating_point else torch.float32)


@form("rsub")
def rsub(w: Writer, input: Any, other: Any) -> str:
    return binary(w, "Sub", other, input)


@form("ne")
def ne(w: Writer, input: Any, other: Any) -> str:
    return w.op("Not", binary(w, "Equal", input, other))


@form("logical_and")
def logical_and(w: Writer, input: Any, other: Any) -> str:
    return binary(w, "And", input, other, torch.bool)


@form("logical_or")
def logical_or(w: Writer, input: Any, other: Any) -> str:
    return binary(w, "Or", input, other, torch.bool)


@form("bitwise_and")
def bitwise_and(w: Writer, input: Any, other: Any) -> str:
    return _bitwise(w, "And", input, other)


@form("bitwise_or")
def bitwise_or(w: Writer, input: Any, other: Any) -> str:
    return _bitwise(w, "Or", input, other)


def _bitwise(w: Writer, kind: str, left: Any, right: Any) -> str:
    is_bool = common(w, left, right) == torch.bool
    return binary(w, kind if is_bool else f"Bitwise{kind}", left, right)


@form("remainder")
def remainder(w: Writer, input: Any, other: Any) -> str:
    dtype = common(w, input, other)
    left, right = w.operand(input, dtype), w.operand(other, dtype)
    if not dtype.is_floating_point:
        return w.op("Mod", left, right)
    return w.op("Sub", left, w.op("Mul", w.op("Floor", w.op("Div", left, right)), right))


@form("floor_divide")
def floor_divide(w: Writer, input: Any, other: Any) -> str:
    dtype = common(w, input, other)
    left, right = w.operand(input, dtype), w.operand(other, dtype)
    if dtype.is_floating_point:
        return w.op("Floor", w.op("Div", left, right))
    return w.op("Div", w.op("Sub", left, w.op("Mod", left, right)), right)


@form("where")
def where(w: Writer, condition: Ref, input: Any, other: Any) -> str:
    dtype = common(w, input, other)
    parts = (w.operand(part, dtype) for part in (input, other))
    return w.op("Where", w(condition, torch.bool), *parts)


@form("masked_fill")
def masked_fill(w: Writer, input: Ref, mask: Ref, value: float) -> str:
    return w.op("Where", w(mask, torch.bool), number(w, value, input), w(input))


@form("rpow")
def rpow(w: Writer, exponent: Ref, base: float) -> str:
    return binary(w, "Pow", base, exponent)
