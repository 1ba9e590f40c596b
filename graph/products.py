"""What each operator multiplies a weight by: the weight as a matrix, its inputs as vectors.

A weight as a matrix has shape (groups, units, columns). Its rows are output units. Its columns are
inputs, for a kernel pairs (input channel, kernel position), in the order of the weight's own axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .ir import Node, Ref

LARGEST = 1 << 22  # numbers in a block of input vectors
MOST_PICKED = 4_096  # input vectors picked at a time

Values = Callable[[Any], Any]  # from a `Ref` or a number to its value


@dataclass(frozen=True)
class Product:
    """A product of one weight with input vectors, within one operator.

    :param weight: the operand that is the weight, if it is one.
    :param blocks: gives the input vectors, in blocks of shape (groups, n, columns).
    :param outputs: from a tensor of the shape of the operator's (first) result to the output
        vectors, shape (groups, n, units). None: the result is no product (recurrent layers).
    :param groups: of the weight's first axis.
    :param transposed: whether the weight's second axis holds the units; else its first does.
    :param lookup: whether the input vectors are one-hot. The blocks then hold the places of the
        ones, shape (n,).
    :param picked: gives the input vectors of some numbers, shape (n,), where that takes less time
        than all blocks: shape (groups, n, columns).
    """

    weight: Ref
    blocks: Callable[[], Iterator[Tensor]]
    outputs: Callable[[Tensor], Tensor] | None
    groups: int = 1
    transposed: bool = False
    lookup: bool = False
    picked: Callable[[Tensor], Tensor] | None = None

    def every(self, stride: int, total: int, skip: int = 0) -> Iterator[Tensor]:
        """Every which input vector, in blocks (groups, n, columns), of which some may be empty.

        :param stride: 1: all of them.
        :param total: how many vectors there are.
        :param skip: the number of the first one; less than `stride`.
        """
        if stride > 1 and self.picked is not None:
            for places in torch.arange(skip, total, stride).split(MOST_PICKED):
                yield self.picked(places)
            return
        first = 0
        for block in self.blocks():
            yield block[:, (skip - first) % stride :: stride]
            first += block.shape[1]


Rule = Callable[[Node, Values], Iterator[Product]]


def as_matrix(weight: Tensor, groups: int = 1, transposed: bool = False) -> Tensor:
    """A weight as a matrix.

    :param weight: at least two axes; the first is a multiple of `groups`.
    :param groups: how many groups the first axis has (grouped convolutions).
    :param transposed: False: axis 0 holds the units (linear layers, convolutions). True: axis 1
        does, and axis 0 the inputs (transposed convolutions, embeddings, `x @ weight`).
    :returns: shape (groups, units, columns). Where memory allows it, a view.

    >>> as_matrix(torch.zeros(6, 2, 3, 3), groups=2).shape  # a convolution of 4 channels to 6
    torch.Size([2, 3, 18])
    """
    blocks = weight.unflatten(0, (groups, -1))
    return (blocks.transpose(1, 2) if transposed else blocks).flatten(2)


def from_matrix(matrix: Tensor, shape: torch.Size, transposed: bool = False) -> Tensor:
    """The weight of a given shape whose matrix this is: the inverse of `as_matrix`."""
    groups, units, _ = matrix.shape
    if not transposed:
        return matrix.reshape(shape)
    blocks = matrix.reshape(groups, units, shape[0] // groups, *shape[2:])
    return blocks.transpose(1, 2).flatten(0, 1)


def dense(node: Node, value: Values) -> Iterator[Product]:
    yield _rows_times(node.arguments["weight"], value(node.arguments["input"]), False)


def matmul(node: Node, value: Values) -> Iterator[Product]:
    """Of `x @ weight` and of `weight @ x`, for a weight of two axes."""
    left, right = node.arguments["input"], node.arguments["other"]
    if value(right).dim() == 2:
        yield _rows_times(right, value(left), True)
    if value(left).dim() == 2 and value(right).dim() > 1:
        columns = _vectors(value(right).mT)
        yield Product(left, columns, lambda output: output.mT.flatten(0, -2)[None])


def addmm(node: Node, value: Values) -> Iterator[Product]:
    yield _rows_times(node.arguments["mat2"], value(node.arguments["mat1"]), True)


def bilinear(node: Node, value: Values) -> Iterator[Product]:
    first, second = (value(node.arguments[k]).flatten(0, -2) for k in ("input1", "input2"))

    def blocks() -> Iterator[Tensor]:
        size = max(1, LARGEST // (first.shape[1] * second.shape[1]))
        for a, b in zip(first.split(size), second.split(size), strict=True):
            yield (a[:, :, None] * b[:, None, :]).flatten(1)[None]

    yield Product(node.arguments["weight"], blocks, _last)


def embedding(node: Node, value: Values) -> Iterator[Product]:
    places = value(node.arguments["indices"]).flatten()
    yield Product(
        node.arguments["weight"], lambda: iter((places,)), _last, transposed=True, lookup=True
    )


def recurrent(node: Node, value: Values) -> Iterator[Product]:
    """Of one layer and direction without projections: the inputs, and the states before each."""
    arguments = node.arguments
    if arguments["num_layers"] != 1 or arguments["bidirectional"]:
        return
    if len(arguments["params"]) != (4 if arguments["has_biases"] else 2):
        return
    time = 1 if arguments["batch_first"] else 0
    states, outputs = arguments["hx"], value(Ref(node))
    first = value(states[0] if isinstance(states, tuple) else states)
    first = first.transpose(0, 1) if time else first
    before = torch.cat([first, outputs.narrow(time, 0, outputs.shape[time] - 1)], time)
    inputs, loops = arguments["params"][:2]
    yield Product(inputs, _vectors(value(arguments["input"])), None)
    yield Product(loops, _vectors(before), None)


def convolution(node: Node, value: Values) -> Iterator[Product]:
    arguments = node.arguments
    kernel = value(arguments["weight"]).shape[2:]
    if value(arguments["input"]).dim() != 2 + len(kernel):
        return  # one example without a batch axis
    padding, dilation = arguments["padding"], arguments["dilation"]
    if padding == "same":
        spare = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(n // 2, n - n // 2) for n in spare]
    else:
        pads = [(n, n) for n in padding]
    x = _padded(value(arguments["input"]), pads)
    groups = arguments["groups"]
    views = _views(x, groups, kernel, arguments["stride"], dilation)
    yield Product(
        arguments["weight"],
        _windows(views, groups, kernel, flipped=False),
        lambda y: _channels(y, groups),
        groups,
        picked=lambda places: _picked(views, len(kernel), places),
    )


def transposed_convolution(node: Node, value: Values) -> Iterator[Product]:
    """As a convolution of the input with zeros between its entries, the kernel turned around."""
    arguments = node.arguments
    kernel = value(arguments["weight"]).shape[2:]
    dilation, groups = arguments["dilation"], arguments["groups"]
    x = value(arguments["input"])
    if x.dim() != 2 + len(kernel):
        return
    for axis, stride in enumerate(arguments["stride"], 2):
        spread = x.new_zeros(*x.shape[: axis + 1], stride, *x.shape[axis + 1 :])
        spread.select(axis + 1, 0).copy_(x)
        x = spread.flatten(axis, axis + 1).narrow(axis, 0, (x.shape[axis] - 1) * stride + 1)
    pads = [
        (d * (k - 1) - p, d * (k - 1) - p + more)
        for d, k, p, more in zip(
            dilation, kernel, arguments["padding"], arguments["output_padding"], strict=True
        )
    ]
    ones = (1,) * len(kernel)
    views = _views(_padded(x, pads), groups, kernel, ones, dilation)
    blocks = _windows(views, groups, kernel, flipped=True)
    yield Product(arguments["weight"], blocks, lambda y: _channels(y, groups), groups, True)


def _rows_times(weight: Ref, x: Tensor, transposed: bool) -> Product:
    return Product(weight, _vectors(x), _last, transposed=transposed)


def _vectors(x: Tensor) -> Callable[[], Iterator[Tensor]]:
    """The vectors along the last axis, in blocks."""

    def blocks() -> Iterator[Tensor]:
        rows = x.reshape(-1, x.shape[-1])
        for part in rows.split(max(1, LARGEST // x.shape[-1])):
            yield part[None]

    return blocks


def _last(output: Tensor) -> Tensor:
    return output.reshape(1, -1, output.shape[-1])


def _channels(output: Tensor, groups: int) -> Tensor:
    parts = output.unflatten(1, (groups, -1)).flatten(3)  # (n, groups, units, positions)
    return parts.permute(1, 0, 3, 2).flatten(1, 2)


def _padded(x: Tensor, pads: list[tuple[int, int]]) -> Tensor:
    flat = [n for pair in reversed(pads) for n in pair]
    return F.pad(x, flat) if any(flat) else x


def _views(x: Tensor, groups: int, kernel: tuple, stride: tuple, dilation: tuple) -> Tensor:
    """What a kernel looks at, at each place, without a copy.

    :returns: shape (groups, n, *places, channels, *kernel).
    """
    rank = len(kernel)
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        x = x.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
    places, ends = range(3, 3 + rank), range(3 + rank, 3 + 2 * rank)
    return x.unflatten(1, (groups, -1)).permute(1, 0, *places, 2, *ends)


def _windows(
    views: Tensor, groups: int, kernel: tuple, flipped: bool
) -> Callable[[], Iterator[Tensor]]:
    """`_views` as vectors, in blocks (groups, places, channels x kernel positions)."""

    def blocks() -> Iterator[Tensor]:
        rank = len(kernel)
        for part in _pieces(views, rank):
            if flipped:
                part = part.flip([*range(-rank, 0)])
            # Copied with the places last, as they are in memory, and then seen the other way.
            columns = part.permute(0, *range(2 + rank, part.dim()), *range(1, 2 + rank))
            yield columns.reshape(groups, math.prod(part.shape[2 + rank :]), -1).mT

    return blocks


def _picked(views: Tensor, rank: int, places: Tensor) -> Tensor:
    """Some of `_views` as vectors, shape (groups, n, channels x kernel positions)."""
    where = torch.unravel_index(places, views.shape[1 : 2 + rank])
    return views[(slice(None), *where)].flatten(2)


def _pieces(parts: Tensor, rank: int) -> Iterator[Tensor]:
    """Split over examples, and over the first axis of places where one example is too large."""
    each = parts.numel() // parts.shape[1]
    if each <= LARGEST:
        yield from parts.split(max(1, LARGEST // max(each, 1)), 1)
        return
    rows = max(1, LARGEST // (each // parts.shape[2]))
    yield from itertools.chain.from_iterable(p.split(rows, 2) for p in parts.split(1, 1))
