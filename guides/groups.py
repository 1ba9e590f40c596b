"""Moments of weights that are products with scales that groups of them share."""

import torch
from torch import Tensor


def group_axis(weight: Tensor) -> int:
    """As the models have it: groups lie along input units of matrices, else along output maps."""
    return 1 if weight.dim() == 2 else 0


def along(values: Tensor, weight: Tensor) -> Tensor:
    """Values of groups, shape `(groups,)` or `(1,)`, in a shape that broadcasts to the weight."""
    shape = [1] * weight.dim()
    shape[group_axis(weight)] = -1
    return values.reshape(shape)


def product_moments(
    mean: Tensor, variance: Tensor, loc: Tensor, stddev: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of scale * base, independent of each other.

    :param mean: of the scale, shape `(groups,)` or `(1,)`; `variance` likewise.
    :param loc: mean of the base, the weight's shape; `stddev` likewise.
    :returns: E = E[z] loc and Var = Var[z] (loc^2 + stddev^2) + E[z]^2 stddev^2.
    """
    mean, variance = along(mean, loc), along(variance, loc)
    squares = loc.square() + stddev.square()
    return mean * loc, variance * squares + mean.square() * stddev.square()


def spread(values: Tensor, weight: Tensor) -> Tensor:
    """One value for each group, shape `(groups,)`, from as many or from one for all."""
    return torch.broadcast_to(values, (weight.shape[group_axis(weight)],))
