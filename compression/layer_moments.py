"""Moments of a layer's input vectors, and with the outputs that the layer is to follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..graph.moments import add_squares, mirror
from ..graph.products import Product

VECTORS = 20  # input vectors for each column that covariances are taken over, if there are as many
FEWEST = 8_192  # of them
STEADY = 1e-4  # of the mean square of inputs: their least variance, where some are constant


def moments_with(
    pairs: Iterable[tuple[Product, Tensor]],
    total: int,
    part: slice,
    centred: bool,
    examples: int,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A of the input vectors x, and their moments with what is left to follow.

    Both are means over examples of sums over positions.

    :param pairs: some input vectors after the other, and for each t - y, or t if there is a
        `weight`: shape (groups, n, units).
    :param total: how many input vectors there are in all.
    :param part: the columns of interest.
    :param centred: covariances, as a bias takes up the means.
    :param examples: how many examples the vectors are of.
    :param weight: of y = weight x + a constant, shape (groups, units, columns). The moments of
        t - y then follow from those of t.
    :returns: shapes (groups, columns, columns) and (groups, units, columns), float32.
    """
    columns = part.stop - part.start
    second: Any = None
    sums: list[Any] = [0.0] * 3
    origin, count = None, 0  # near the means: float32 loses what is small beside them
    for x, r in _picked(pairs, _stride(total, columns), part):
        count += x.shape[1]
        if second is None:
            second = torch.zeros(len(x), columns, columns, dtype=torch.float64)
        if centred:
            origin = (
                (x.mean(1, keepdim=True), r.mean(1, keepdim=True)) if origin is None else origin
            )
            x, r = x - origin[0], r - origin[1]
        add_squares(second, x)
        new = x.sum(1), r.sum(1), r.mT @ x
        sums = [old + value.double() for old, value in zip(sums, new, strict=True)]
    mirror(second)
    mean, mean_rest, cross = (value / count for value in sums)
    second /= count
    if centred:
        second -= mean[:, :, None] * mean[:, None]
        cross -= mean_rest[:, :, None] * mean[:, None]
    if weight is not None:
        cross -= weight.double() @ second
    if centred:
        variance = second.diagonal(dim1=1, dim2=2)
        square = variance + (mean + origin[0][:, 0].double()).square()
        variance.add_(STEADY * square.mean(1, keepdim=True))
    positions = total / examples
    return (positions * second).float(), (positions * cross).float()


def _picked(
    pairs: Iterable[tuple[Product, Tensor]], stride: int, part: slice
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every which input vector of all, the columns of interest, and what belongs to it."""
    seen = 0
    for product, outputs in pairs:
        total, skip = outputs.shape[1], -seen % stride
        chosen, first = outputs[:, skip::stride], 0
        for x in product.every(stride, total, skip):
            if x.shape[1]:
                yield x[:, :, part], chosen[:, first : first + x.shape[1]]
            first += x.shape[1]
        seen += total


def _stride(total: int, columns: int) -> int:
    """Of so many vectors every which one counts: odd, so that it meets every place of a map."""
    stride = max(total // max(VECTORS * columns, FEWEST), 1)
    return stride - (stride % 2 == 0)
