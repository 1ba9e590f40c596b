"""ONNX forms of operators that write to, sort by, or read from computed places."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...graph.ir import Ref
from .elementwise import number
from .forms import form
from .moves import joined_indices, known, slice_
from .writer import Writer

Ints = tuple[int, ...]


@form("sort")
def sort(w: Writer, input: Ref, dim: int, descending: bool) -> tuple[str, str]:
    count = w.ints(known(w, input, dim, "sorts"))
    return w.op("TopK", w(input), count, results=2, axis=dim, largest=int(descending), sorted=1)


@form("one_hot")
def one_hot(w: Writer, input: Ref, num_classes: int) -> str:
    return w.op("OneHot", w(input), w.ints(num_classes), w.ints(0, 1), axis=-1)


@form("scatter")
def scatter(w: Writer, input: Ref, dim: int, index: Ref, src: Any) -> str:
    if isinstance(src, Ref) and w.shape(src) != ():
        _check_same(w, index, src)
        values = w(src)
    else:
        value = w.operand(src, w.shapes.dtype(input))
        values = w.op("Expand", value, w.op("Shape", w(index)))
    return w.op("ScatterElements", w(input), w(index), values, axis=dim)


@form("scatter_add")
def scatter_add(w: Writer, input: Ref, dim: int, index: Ref, src: Ref) -> str:
    _check_same(w, index, src)
    return w.op("ScatterElements", w(input), w(index), w(src), axis=dim, reduction="add")


def _check_same(w: Writer, index: Ref, src: Ref) -> None:
    if w.shape(index) != w.shape(src):
        raise ValueError("writes a part of its source, which cannot be exported")


@form("index_put")
def index_put(
    w: Writer, input: Ref, indices: tuple[Ref, ...], values: Ref, accumulate: bool
) -> str:
    if w.shapes.dtype(indices[0]) == torch.bool:
        if len(indices) > 1 or w.shape(values) not in ((), (1,)) or accumulate:
            raise ValueError("writes several values by a mask, which cannot be exported")
        further = len(w.shape(input)) - len(w.shape(indices[0]))
        mask = w(indices[0])
        mask = w.op("Unsqueeze", mask, w.ints(*range(-further, 0))) if further else mask
        return w.op("Where", mask, w(values), w(input))
    places = joined_indices(w, indices)
    shape = w.op("Shape", w.op("GatherND", w(input), places))
    written = w.op("Expand", w(values), shape)
    kind = "add" if accumulate else "none"
    return w.op("ScatterND", w(input), places, written, reduction=kind)


@form("slice_scatter")
def slice_scatter(
    w: Writer, input: Ref, src: Ref, dim: int, start: int | None, end: int | None, step: int
) -> str:
    size = known(w, input, dim, "writes to")
    return _written(w, input, w(src), dim, list(range(*slice(start, end, step).indices(size))))


@form("select_scatter")
def select_scatter(w: Writer, input: Ref, src: Ref, dim: int, index: int) -> str:
    size, axis = known(w, input, dim, "writes to"), dim % len(w.shape(input))
    return _written(w, input, w.op("Unsqueeze", w(src), w.ints(axis)), dim, [index % size])


def _written(w: Writer, input: Ref, source: str, dim: int, places: list[int]) -> str:
    """The input with the entries of an axis at these places replaced."""
    order = list(range(len(w.shape(input))))
    order[0], order[dim] = order[dim], order[0]
    first, second = (w.op("Transpose", name, perm=order) for name in (w(input), source))
    rows = w.constant(torch.tensor(places).reshape(-1, 1))
    return w.op("Transpose", w.op("ScatterND", first, rows, second), perm=order)


@form("diagonal")
def diagonal(w: Writer, input: Ref, offset: int, dim1: int, dim2: int) -> str:
    rank = len(w.shape(input))
    rows, columns = (known(w, input, dim, "takes the diagonal of") for dim in (dim1, dim2))
    last = [dim1 % rank, dim2 % rank]
    order = [axis for axis in range(rank) if axis not in last] + last
    flat = w.op("Transpose", w(input), perm=order)
    flat = w.op("Reshape", flat, w.ints(*[0] * (rank - 2), rows * columns))
    places = torch.arange(rows * columns).reshape(rows, columns).diagonal(offset)
    return w.op("Gather", flat, w.constant(places), axis=-1)


@form("windows")
def windows(w: Writer, input: Ref, dimension: int, size: int, step: int) -> str:
    rank = len(w.shape(input))
    axis = dimension % rank
    places = torch.arange(known(w, input, axis, "takes windows of")).unfold(0, size, step)
    found = w.op("Gather", w(input), w.constant(places.contiguous()), axis=axis)
    order = [*range(axis + 1), *range(axis + 2, rank + 1), axis + 1]
    return w.op("Transpose", found, perm=order)


@form("fold")
def fold(
    w: Writer, input: Ref, output_size: Ints, kernel_size: Ints, dilation: Ints, padding: Ints,
    stride: Ints,
) -> str:  # fmt: skip
    if len(w.shape(input)) != 3:
        raise ValueError("takes inputs without a batch axis, which cannot be exported")
    sizes = (w.ints(*output_size), w.ints(*kernel_size))
    pads = [*padding, *padding]
    return w.op("Col2Im", w(input), *sizes, dilations=dilation, pads=pads, strides=stride)


@form("grid_sample")
def grid_sample(
    w: Writer, input: Ref, grid: Ref, interpolation_mode: int, padding_mode: int,
    align_corners: bool,
) -> str:  # fmt: skip
    if len(w.shape(input)) != 4:
        raise ValueError("samples other than images, which cannot be exported")
    modes = ("linear", "nearest", "cubic") if w.wide else ("bilinear", "nearest", "bicubic")
    return w.op(
        "GridSample", w(input), w(grid), mode=modes[interpolation_mode],
        padding_mode=("zeros", "border", "reflection")[padding_mode],
        align_corners=int(align_corners),
    )  # fmt: skip


@form("cdist")
def cdist(w: Writer, x1: Ref, x2: Ref, p: float) -> str:
    apart = w.op("Sub", w.op("Unsqueeze", w(x1), w.ints(-2)), w.op("Unsqueeze", w(x2), w.ints(-3)))
    if p in (1, 2):
        return w.op(f"ReduceL{int(p)}", apart, w.ints(-1), keepdims=0)
    size = w.op("Abs", apart)
    if math.isinf(p):
        return w.op("ReduceMax", size, w.ints(-1), keepdims=0)
    if p == 0:
        raise ValueError("counts differences (p=0), which cannot be exported")
    total = w.op("ReduceSum", w.op("Pow", size, number(w, p, x1)), w.ints(-1), keepdims=0)
    return w.op("Pow", total, number(w, 1 / p, x1))


@form("linalg_cross")
def linalg_cross(w: Writer, input: Ref, other: Ref, dim: int) -> str:
    def turned(ref: Ref, places: tuple[int, ...]) -> str:
        return w.op("Gather", w(ref), w.ints(*places), axis=dim)

    first, second = (1, 2, 0), (2, 0, 1)
    return w.op(
        "Sub",
        w.op("Mul", turned(input, first), turned(other, second)),
        w.op("Mul", turned(input, second), turned(other, first)),
    )


@form("cumprod")
def cumprod(w: Writer, input: Ref, dim: int) -> str:
    """One product after the other: ONNX has no such operator."""
    dtype = w.shapes.dtype(input)
    x = w(input, dtype if dtype.is_floating_point else torch.int64)
    parts: list[str] = []
    for place in range(known(w, input, dim, "multiplies along")):
        part = slice_(w, x, dim, place, place + 1)
        parts.append(w.op("Mul", parts[-1], part) if parts else part)
    return w.op("Concat", *parts, axis=dim)
