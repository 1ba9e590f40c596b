"""What guides share whose weights are products with scales that groups of them share."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

# Of the largest group: a group of zeros must have a scale as well.
_SMALLEST = 0.01


def sizes(*weights: tuple[Tensor, int]) -> Tensor:
    """Root mean square of each group's weights, at least 1 % of the largest; shape `(groups,)`.

    Where guides start a group's scale, so that its base weights start at the size of their prior
    N(0, 1); 1 where all is zero.

    :param weights: all tensors that have the groups, each with the axis that they lie along.
    """
    rows = [weight.transpose(0, axis).flatten(1) for weight, axis in weights]
    # One tensor as it is: a copy in another order of memory would be summed in another order.
    size = (rows[0] if len(rows) == 1 else torch.cat(rows, 1)).square().mean(1).sqrt()
    if not size.any():
        return torch.ones_like(size)
    return size.clamp(min=_SMALLEST * size.max().item())


def shared_sizes(model: nn.Module, name: str) -> Tensor:
    """The `sizes` over all weights of a model that share the scale of one."""
    initial, groups = model.initial_weights(), model.groups
    return sizes(*((initial[other], groups.axes[other]) for other in groups.members(name)))


def product_moments(
    mean: Tensor, variance: Tensor, loc: Tensor, stddev: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of scale * base, independent of each other.

    :param mean: of the scale, in a shape that broadcasts to the weight.
    :param variance: of the scale, the same shape.
    :param loc: mean of the base, the weight's shape.
    :param stddev: of the base, the weight's shape.
    :returns: E = E[z] loc and Var = Var[z] (loc^2 + stddev^2) + E[z]^2 stddev^2.
    """
    squares = loc.square() + stddev.square()
    return mean * loc, variance * squares + mean.square() * stddev.square()


class Bounds:
    """Upper bounds of the standard deviations of base weights.

    :param given: by the weight's name, or one for all; None: no bounds.
    :param names: of all weights.
    :raises ValueError: for a bound that is not positive, or of an unknown weight.
    """

    def __init__(self, given: float | Mapping[str, float] | None, names: tuple[str, ...]):
        given = {} if given is None else given
        given = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
        for name, bound in given.items():
            if name not in names:
                known = ", ".join(names)
                raise ValueError(f"max_scale: {name!r} is no latent weight; known: {known}")
            if not bound > 0:
                raise ValueError(f"max_scale of {name!r} must be positive; got {bound}")
        self._logs = {name: math.log(bound) for name, bound in given.items()}

    def __call__(self, name: str, log_scale: Tensor) -> Tensor:
        """log of 1 / (1/scale + 1/bound), smooth in `log_scale`, which it is without a bound."""
        bound = self._logs.get(name)
        return log_scale if bound is None else log_scale - softplus(log_scale - bound)
