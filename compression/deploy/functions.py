"""ONNX forms of further elementwise functions."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...graph.ir import Ref
from .elementwise import binary, common, number
from .forms import form
from .moves import known
from .writer import Writer


@form("erfc")
def erfc(w: Writer, input: Ref) -> str:
    return w.op("Sub", number(w, 1, input), w.op("Erf", w(input)))


@form("exp2")
def exp2(w: Writer, input: Ref) -> str:
    return w.op("Pow", number(w, 2, input), w(input))


@form("log2")
def log2(w: Writer, input: Ref) -> str:
    return w.op("Div", w.op("Log", w(input)), number(w, math.log(2), input))


@form("log10")
def log10(w: Writer, input: Ref) -> str:
    return w.op("Div", w.op("Log", w(input)), number(w, math.log(10), input))


@form("trunc")
def trunc(w: Writer, input: Ref) -> str:
    return w.op("Mul", w.op("Sign", w(input)), w.op("Floor", w.op("Abs", w(input))))


@form("frac")
def frac(w: Writer, input: Ref) -> str:
    return w.op("Sub", w(input), trunc(w, input))


@form("logit")
def logit(w: Writer, input: Ref, eps: float | None) -> str:
    x = w(input)
    if eps is not None:
        x = w.op("Clip", x, number(w, eps, input), number(w, 1 - eps, input))
    return w.op("Log", w.op("Div", x, w.op("Sub", number(w, 1, input), x)))


@form("atan2")
def atan2(w: Writer, input: Ref, other: Ref) -> str:
    """atan(y / x), half a turn further where x is negative, and 0 where both are 0."""
    y, x, zero, pi = w(input), w(other), number(w, 0, input), number(w, math.pi, input)
    angle = w.op("Atan", w.op("Div", y, x))
    turn = w.op("Where", w.op("Less", y, zero), w.op("Neg", pi), pi)
    angle = w.op("Where", w.op("Less", x, zero), w.op("Add", angle, turn), angle)
    both = w.op("And", w.op("Equal", x, zero), w.op("Equal", y, zero))
    return w.op("Where", both, zero, angle)


@form("fmod")
def fmod(w: Writer, input: Ref, other: Any) -> str:
    dtype = common(w, input, other)
    return w.op("Mod", w.operand(input, dtype), w.operand(other, dtype), fmod=1)


@form("logical_xor")
def logical_xor(w: Writer, input: Ref, other: Ref) -> str:
    return binary(w, "Xor", input, other, torch.bool)


@form("bitwise_xor")
def bitwise_xor(w: Writer, input: Ref, other: Any) -> str:
    is_bool = common(w, input, other) == torch.bool
    return binary(w, "Xor" if is_bool else "BitwiseXor", input, other)


@form("hypot")
def hypot(w: Writer, input: Ref, other: Ref) -> str:
    squares = (w.op("Mul", w(ref), w(ref)) for ref in (input, other))
    return w.op("Sqrt", w.op("Add", *squares))


@form("lerp")
def lerp(w: Writer, input: Ref, end: Ref, weight: Any) -> str:
    share = w.operand(weight, w.shapes.dtype(input))
    return w.op("Add", w(input), w.op("Mul", share, w.op("Sub", w(end), w(input))))


@form("addcmul")
def addcmul(w: Writer, input: Ref, tensor1: Ref, tensor2: Ref, value: float) -> str:
    return _added(w, "Mul", input, tensor1, tensor2, value)


@form("addcdiv")
def addcdiv(w: Writer, input: Ref, tensor1: Ref, tensor2: Ref, value: float) -> str:
    return _added(w, "Div", input, tensor1, tensor2, value)


def _added(w: Writer, kind: str, input: Ref, first: Ref, second: Ref, value: float) -> str:
    term = w.op(kind, w(first), w(second))
    return w.op("Add", w(input), w.op("Mul", term, number(w, value, input)))


@form("glu")
def glu(w: Writer, input: Ref, dim: int) -> str:
    half = known(w, input, dim, "halves") // 2
    first, second = w.op("Split", w(input), w.ints(half, half), results=2, axis=dim)
    return w.op("Mul", first, w.op("Sigmoid", second))
