"""ONNX forms of constants whose shape depends on the batch, and of arithmetic with sizes."""

from __future__ import annotations

from typing import Any

import torch

from ...graph.ir import Ref
from .forms import form
from .writer import Writer


@form("full")
def full(w: Writer, size: tuple[Any, ...], value: float, dtype: str | None) -> str:
    kind = torch.full((), value, dtype=None if dtype is None else getattr(torch, dtype))
    return w.op("Expand", w.constant(kind), w.sizes(size))


@form("arange")
def arange(w: Writer, start: Any, end: Any, step: Any, dtype: str | None) -> str:
    made = w.op("Range", *(w.operand(part, torch.int64) for part in (start, end, step)))
    return made if dtype in (None, "int64") else w.cast(made, getattr(torch, dtype))


@form("size")
def size(w: Writer, input: Ref, dim: int) -> str:
    axis = dim % len(w.shape(input))
    shape = w.op("Shape", w(input), start=axis, end=axis + 1)
    return w.op("Squeeze", shape, w.ints(0))


def _arithmetic(w: Writer, kind: str, left: Any, right: Any) -> str:
    return w.op(kind, w.operand(left, torch.int64), w.operand(right, torch.int64))


@form("int_add")
def int_add(w: Writer, left: Any, right: Any) -> str:
    return _arithmetic(w, "Add", left, right)


@form("int_sub")
def int_sub(w: Writer, left: Any, right: Any) -> str:
    return _arithmetic(w, "Sub", left, right)


@form("int_mul")
def int_mul(w: Writer, left: Any, right: Any) -> str:
    return _arithmetic(w, "Mul", left, right)


@form("int_mod")
def int_mod(w: Writer, left: Any, right: Any) -> str:
    return _arithmetic(w, "Mod", left, right)


@form("int_floordiv")
def int_floordiv(w: Writer, left: Any, right: Any) -> str:
    """Rounded down: less the rest, which has the sign of the divisor as in Python."""
    whole = w.op("Sub", w.operand(left, torch.int64), int_mod(w, left, right))
    return w.op("Div", whole, w.operand(right, torch.int64))
