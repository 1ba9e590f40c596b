"""Moments of a layer's input vectors, and with the outputs that the layer is to follow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..graph.moments import add_squares, mirror
from ..graph.products import Product

VECTORS = 40  # input vectors for each column that covariances are taken over, if there are as many
FEWEST = 8_192  # of them
STEADY = 1e-4  # of the mean square of inputs: their least variance, where some are constant


def moments_with(
    product: Product,
    outputs: Tensor,
    part: slice,
    centred: bool,
    examples: int,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A of the input vectors x, and their moments with what is left to follow.

    Both are means over examples of sums over positions.

    :param outputs: t - y, or t if there is a `weight`: shape (groups, n, units).
    :param part: the columns of interest.
    :param centred: covariances, as a bias takes up the means.
    :param examples: how many examples the n vectors are of.
    :param weight: of y = weight x + a constant, shape (groups, units, columns). The moments of
        t - y then follow from those of t.
    :returns: shapes (groups, columns, columns) and (groups, units, columns), float32.
    """
    total, count = outputs.shape[1], 0
    columns = part.stop - part.start
    stride = _stride(total, columns)
    second = torch.zeros(len(outputs), columns, columns, dtype=torch.float64)
    sums: list[Any] = [0.0] * 3
    origin = None  # near the means: float32 loses what is small beside them
    for x in product.every(stride, total):
        x = x[:, :, part]
        r = outputs[:, count * stride :: stride][:, : x.shape[1]]
        count += x.shape[1]
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


def _stride(total: int, columns: int) -> int:
    """Of so many vectors every which one counts: odd, so that it meets every place of a map."""
    stride = max(total // max(VECTORS * columns, FEWEST), 1)
    return stride - (stride % 2 == 0)
