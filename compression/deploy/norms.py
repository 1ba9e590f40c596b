"""ONNX forms of normalizations, reductions, and functions along an axis."""

from __future__ import annotations

import math

import torch

from ...graph.ir import Ref
from .elementwise import number
from .forms import form
from .writer import Writer


def _vector(w: Writer, ref: Ref | None, default: float, shape: tuple[int, ...], like: Ref) -> str:
    """A vector, or one of a constant where there is none."""
    if ref is not None:
        return w(ref)
    return w.constant(torch.full(shape, default, dtype=w.shapes.dtype(like)))


@form("batch_norm")
def batch_norm(
    w: Writer, input: Ref, weight: Ref | None, bias: Ref | None, running_mean: Ref,
    running_var: Ref, momentum: float, eps: float,
) -> str:  # fmt: skip
    shape = w.shape(running_mean)
    scale, shift = _vector(w, weight, 1, shape, input), _vector(w, bias, 0, shape, input)
    statistics = (w(running_mean), w(running_var))
    return w.op("BatchNormalization", w(input), scale, shift, *statistics, epsilon=float(eps))


@form("layer_norm")
def layer_norm(
    w: Writer, input: Ref, normalized_shape: tuple[int, ...], weight: Ref | None, bias: Ref | None,
    eps: float,
) -> str:  # fmt: skip
    scale = _vector(w, weight, 1, normalized_shape, input)
    shift = [] if bias is None else [w(bias)]
    axis = -len(normalized_shape)
    return w.op("LayerNormalization", w(input), scale, *shift, axis=axis, epsilon=float(eps))


@form("rms_norm")
def rms_norm(
    w: Writer, input: Ref, normalized_shape: tuple[int, ...], weight: Ref | None, eps: float | None
) -> str:
    eps = torch.finfo(w.shapes.dtype(input)).eps if eps is None else eps
    axes = w.ints(*range(-len(normalized_shape), 0))
    square = w.op("ReduceMean", w.op("Mul", w(input), w(input)), axes, keepdims=1)
    root = w.op("Sqrt", w.op("Add", square, number(w, eps, input)))
    normal = w.op("Div", w(input), root)
    return normal if weight is None else w.op("Mul", normal, w(weight))


@form("group_norm")
def group_norm(
    w: Writer, input: Ref, num_groups: int, weight: Ref | None, bias: Ref | None, eps: float
) -> str:
    rows = w.op("Reshape", w(input), w.ints(0, num_groups, -1))
    ones = _vector(w, None, 1, (num_groups,), input)
    zeros = _vector(w, None, 0, (num_groups,), input)
    normal = w.op("InstanceNormalization", rows, ones, zeros, epsilon=float(eps))
    normal = w.op("Reshape", normal, w.op("Shape", w(input)))
    return _scaled(w, normal, input, weight, bias)


@form("instance_norm")
def instance_norm(w: Writer, input: Ref, weight: Ref | None, bias: Ref | None, eps: float) -> str:
    shape = w.shape(input)[1:2]
    scale, shift = _vector(w, weight, 1, shape, input), _vector(w, bias, 0, shape, input)
    return w.op("InstanceNormalization", w(input), scale, shift, epsilon=float(eps))


@form("affine")
def affine(w: Writer, input: Ref, weight: Ref, bias: Ref) -> str:
    return _scaled(w, w(input), input, weight, bias)


def _scaled(w: Writer, name: str, like: Ref, weight: Ref | None, bias: Ref | None) -> str:
    """Channel by channel, weight * value + bias; the channels are axis 1 of `like`."""
    column = w.ints(-1, *[1] * (len(w.shape(like)) - 2))
    if weight is not None:
        name = w.op("Mul", name, w.op("Reshape", w(weight), column))
    return name if bias is None else w.op("Add", name, w.op("Reshape", w(bias), column))


@form("weight_norm")
def weight_norm(w: Writer, v: Ref, g: Ref, dim: int) -> str:
    rank = len(w.shape(v))
    axes = w.ints(*(axis for axis in range(rank) if dim == -1 or axis != dim % rank))
    length = w.op("ReduceL2", w(v), axes, keepdims=1)
    return w.op("Mul", w(v), w.op("Div", w(g), length))


def _axes(w: Writer, input: Ref, dim: tuple[int, ...] | None) -> str:
    rank = len(w.shape(input))
    return w.ints(*(range(rank) if dim is None else (axis % max(rank, 1) for axis in dim)))


@form("mean")
def mean(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    return w.op("ReduceMean", w(input), _axes(w, input, dim), keepdims=int(keepdim))


@form("sum")
def sum_(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    dtype = w.shapes.dtype(input)
    dtype = dtype if dtype.is_floating_point else torch.int64
    return w.op("ReduceSum", w(input, dtype), _axes(w, input, dim), keepdims=int(keepdim))


@form("amax")
def amax(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    return w.op("ReduceMax", w(input), _axes(w, input, dim), keepdims=int(keepdim))


@form("amin")
def amin(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    return w.op("ReduceMin", w(input), _axes(w, input, dim), keepdims=int(keepdim))


@form("prod")
def prod(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    dtype = w.shapes.dtype(input)
    dtype = dtype if dtype.is_floating_point else torch.int64
    return w.op("ReduceProd", w(input, dtype), _axes(w, input, dim), keepdims=int(keepdim))


@form("logsumexp")
def logsumexp(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    return w.op("ReduceLogSumExp", w(input), _axes(w, input, dim), keepdims=int(keepdim))


@form("any")
def any_(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    return _flags(w, "Max", input, dim, keepdim)


@form("all")
def all_(w: Writer, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    return _flags(w, "Min", input, dim, keepdim)


def _flags(w: Writer, kind: str, input: Ref, dim: tuple[int, ...] | None, keepdim: bool) -> str:
    flags = w.cast(w(input, torch.bool), torch.int32)
    found = w.op(f"Reduce{kind}", flags, _axes(w, input, dim), keepdims=int(keepdim))
    return w.cast(found, torch.bool)


@form("var")
def var(
    w: Writer, input: Ref, dim: tuple[int, ...] | None, correction: float, keepdim: bool
) -> str:
    shape = w.shape(input)
    sizes = [shape[axis] for axis in (range(len(shape)) if dim is None else dim)]
    if any(size is None for size in sizes):
        raise ValueError("is a variance over the batch, which cannot be exported")
    axes, count = _axes(w, input, dim), math.prod(sizes)
    apart = w.op("Sub", w(input), w.op("ReduceMean", w(input), axes, keepdims=1))
    total = w.op("ReduceSum", w.op("Mul", apart, apart), axes, keepdims=int(keepdim))
    return w.op("Div", total, number(w, max(count - correction, 0), input))


@form("vector_norm")
def vector_norm(
    w: Writer, input: Ref, ord: float, dim: tuple[int, ...] | None, keepdim: bool
) -> str:
    axes, keep = _axes(w, input, dim), int(keepdim)
    if ord in (1, 2):
        return w.op(f"ReduceL{int(ord)}", w(input), axes, keepdims=keep)
    size = w.op("Abs", w(input))
    if math.isinf(ord):
        return w.op("ReduceMax" if ord > 0 else "ReduceMin", size, axes, keepdims=keep)
    if ord == 0:
        zero = w.op("Equal", w(input), number(w, 0, input))
        some = w.cast(w.op("Not", zero), w.shapes.dtype(input))
        return w.op("ReduceSum", some, axes, keepdims=keep)
    powers = w.op("Pow", size, number(w, ord, input))
    total = w.op("ReduceSum", powers, axes, keepdims=keep)
    return w.op("Pow", total, number(w, 1 / ord, input))


@form("argmax")
def argmax(w: Writer, input: Ref, dim: int | None, keepdim: bool) -> str:
    return _place(w, "ArgMax", input, dim, keepdim)


@form("argmin")
def argmin(w: Writer, input: Ref, dim: int | None, keepdim: bool) -> str:
    return _place(w, "ArgMin", input, dim, keepdim)


def _place(w: Writer, kind: str, input: Ref, dim: int | None, keepdim: bool) -> str:
    if dim is not None:
        return w.op(kind, w(input), axis=dim, keepdims=int(keepdim))
    found = w.op(kind, w.op("Reshape", w(input), w.ints(-1)), axis=0, keepdims=1)
    return w.op("Reshape", found, w.ints(*[1] * (len(w.shape(input)) * keepdim)))


@form("softmax")
def softmax(w: Writer, input: Ref, dim: int) -> str:
    return w.op("Softmax", w(input), axis=dim)


@form("log_softmax")
def log_softmax(w: Writer, input: Ref, dim: int) -> str:
    return w.op("LogSoftmax", w(input), axis=dim)


@form("cumsum")
def cumsum(w: Writer, input: Ref, dim: int) -> str:
    dtype = w.shapes.dtype(input)
    dtype = dtype if dtype.is_floating_point else torch.int64
    return w.op("CumSum", w(input, dtype), w.constant(torch.tensor(dim)))


@form("max_along")
def max_along(w: Writer, input: Ref, dim: int, keepdim: bool) -> tuple[str, str]:
    return _extreme(w, "Max", input, dim, keepdim)


@form("min_along")
def min_along(w: Writer, input: Ref, dim: int, keepdim: bool) -> tuple[str, str]:
    return _extreme(w, "Min", input, dim, keepdim)


def _extreme(w: Writer, kind: str, input: Ref, dim: int, keepdim: bool) -> tuple[str, str]:
    keep = int(keepdim)
    value = w.op(f"Reduce{kind}", w(input), _axes(w, input, (dim,)), keepdims=keep)
    return value, w.op(f"Arg{kind}", w(input), axis=dim, keepdims=keep)


@form("topk")
def topk(w: Writer, input: Ref, k: int, dim: int, largest: bool) -> tuple[str, ...]:
    return w.op("TopK", w(input), w.ints(k), results=2, axis=dim, largest=int(largest), sorted=1)
