"""Moments of weights that are products with scales that groups of them share."""

from torch import Tensor

from ..distributions.groups import along, group_axis

# Of the largest group: a group of zeros must have a scale as well.
_SMALLEST = 0.01


def sizes(weight: Tensor) -> Tensor:
    """Root mean square of each group's weights, at least 1 % of the largest; shape `(groups,)`.

    Where guides start a group's scale, so that its base weights start at the size of their prior
    N(0, 1); 1 where the whole tensor is zero.
    """
    size = weight.transpose(0, group_axis(weight)).flatten(1).square().mean(1).sqrt()
    if not size.any():
        return weight.new_ones(size.shape)
    return size.clamp(min=_SMALLEST * size.max().item())


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
