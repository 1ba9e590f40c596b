"""Moments of weights that are products with scales that groups of them share."""

from torch import Tensor

from ..distributions.groups import along


def product_moments(
    mean: Tensor, variance: Tensor, loc: Tensor, stddev: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of scale * base, independent of each other.

    :param mean: of the scale, shape `(groups,)` or `(1,)`.
    :param variance: of the scale, the same shape.
    :param loc: mean of the base, the weight's shape.
    :param stddev: of the base, the weight's shape.
    :returns: E = E[z] loc and Var = Var[z] (loc^2 + stddev^2) + E[z]^2 stddev^2.
    """
    mean, variance = along(mean, loc), along(variance, loc)
    squares = loc.square() + stddev.square()
    return mean * loc, variance * squares + mean.square() * stddev.square()
