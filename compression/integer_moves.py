"""Integer forms of movements, maxima, and means as sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..graph import Node, Ref
from ..graph.calls import stride_of
from ..graph.table import OPERATORS
from .integer_layers import MAX_ACCUMULATOR, IntegerCall
from .integer_walk import Meaning, Walk, form

_MOST_CODE = 1 << 16  # in magnitude, of what a layer of weights takes


@form(
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "flatten", "reshape", "transpose", "permute", "unsqueeze", "squeeze",
    "pick", "slice", "select", "flip", "roll", "repeat", "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip
def _moved(walk: Walk, node: Node) -> None:
    """Movements and maxima: the integers keep their meaning."""
    source, meaning = walk.place(node.arguments["input"])
    walk.put(node, IntegerCall(node.operator, _call(walk, node)), meaning, source)


@form("dropout", "feature_dropout", "alpha_dropout")
def _unchanged(walk: Walk, node: Node) -> None:
    source, meaning = walk.place(node.arguments["input"])
    walk.put(node, nn.Identity(), meaning, source)


@form("pad")
def _pad(walk: Walk, node: Node) -> None:
    if node.arguments["mode"] == "constant" and node.arguments["value"] != 0:
        raise ValueError(f"pads by {node.arguments['value']}; only zeros have an integer form")
    _moved(walk, node)


@form("split", "unbind")
def _parts(walk: Walk, node: Node) -> None:
    source, meaning = walk.place(node.arguments["input"])
    call, stem = _call(walk, node), walk.name(node)
    if node.operator == "split":
        count = len(node.arguments["sizes"])
    else:
        count = walk.sizes(node.arguments["input"])[node.arguments["dim"]]
    for index in range(count):
        part = IntegerCall(node.operator, partial(_part, call, index))
        walk.layer(Ref(node, index), stem, part, (source,), meaning)


def _call(walk: Walk, node: Node) -> Callable[[Tensor], Tensor]:
    """The operator as a function of its input."""
    rest = []
    for name, value in node.arguments.items():
        if name == "kept":
            value = walk.tensor(value).cpu()
        if (isinstance(value, Ref) and name != "input") or _holds_refs(value):
            raise ValueError("has a shape that the network computes, which has no integer form")
        rest += [] if name == "input" else [value]
    return partial(_run, node.operator, rest)


def _run(operator: str, rest: list[Any], x: Tensor) -> Any:
    return OPERATORS[operator].call(x, *rest)


def _part(call: Callable[[Tensor], Any], index: int, x: Tensor) -> Tensor:
    return call(x)[index]


def _holds_refs(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(part, Ref) for part in value)


@form("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(walk: Walk, node: Node) -> None:
    a = node.arguments
    if a["ceil_mode"] or (any(a["padding"]) and not a["count_include_pad"]):
        raise ValueError("pools by means of windows of several sizes, which have no integer form")
    count = a["divisor_override"] or math.prod(a["kernel_size"])
    stride = stride_of(a["stride"], a["kernel_size"])
    _sum_windows(walk, node, a["kernel_size"], stride, a["padding"], count)


@form("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive_avg_pool(walk: Walk, node: Node) -> None:
    wanted = node.arguments["output_size"]
    sizes = walk.sizes(node.arguments["input"])[-len(wanted) :]
    if any(n is None or n % m for n, m in zip(sizes, wanted, strict=True)):
        raise ValueError("pools by means of windows of several sizes, which have no integer form")
    kernel = tuple(n // m for n, m in zip(sizes, wanted, strict=True))
    _sum_windows(walk, node, kernel, kernel, (0,) * len(kernel), math.prod(kernel))


def _sum_windows(
    walk: Walk, node: Node, kernel: tuple[int, ...], stride: tuple[int, ...],
    padding: tuple[int, ...], count: int,
) -> None:  # fmt: skip
    _put_sums(walk, node, partial(_pooled, kernel, stride, padding), math.prod(kernel), count)


def _pooled(
    kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], x: Tensor
) -> Tensor:
    """Sums over windows."""
    if len(kernel) == 1:
        return _pooled((1, *kernel), (1, *stride), (0, *padding), x[..., None, :])[..., 0, :]
    pool = F.avg_pool2d if len(kernel) == 2 else F.avg_pool3d
    return pool(x, kernel, stride, padding, divisor_override=1)


@form("mean", "sum")
def _reduced(walk: Walk, node: Node) -> None:
    sizes = walk.sizes(node.arguments["input"])
    dims = node.arguments["dim"]
    dims = tuple(range(len(sizes))) if dims is None else dims
    counts = [sizes[dim] for dim in dims]
    if any(count is None for count in counts):
        raise ValueError("sums over an axis whose size depends on the inputs")
    places, keepdim = math.prod(counts), node.arguments["keepdim"]
    divisor = places if node.operator == "mean" else 1
    _put_sums(walk, node, partial(_summed, dims, keepdim), places, divisor)


def _summed(dims: tuple[int, ...], keepdim: bool, x: Tensor) -> Tensor:
    return x.sum(dims, keepdim)


def _put_sums(
    walk: Walk, node: Node, call: Callable[[Tensor], Tensor], places: int, count: int
) -> None:
    """Sums of so many integers, whose unit is divided by `count`."""
    source, meaning = walk.place(node.arguments["input"])
    reach = meaning.reach * places
    if reach > MAX_ACCUMULATOR:
        raise ValueError(f"may sum to {reach}, beyond int32 ({MAX_ACCUMULATOR}); use fewer bits")
    quantised = meaning.quantised and reach <= _MOST_CODE
    made = Meaning(meaning.scale / count, reach, quantised)
    walk.put(node, IntegerCall(node.operator, call), made, source)
