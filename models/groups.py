"""Priors whose weights are products with scales that groups of them share."""

import pyro
from pyro.distributions import Delta
from torch import Tensor


def group_axis(weight: Tensor) -> int:
    """The axis along which groups lie: 1, input units, of a matrix; else 0, output maps."""
    return 1 if weight.dim() == 2 else 0


def along(scale: Tensor, weight: Tensor) -> Tensor:
    """Scales of groups, shape `(groups,)` or `(1,)`, in a shape that broadcasts to the weight."""
    shape = [1] * weight.dim()
    shape[group_axis(weight)] = scale.shape[0]
    return scale.reshape(*shape)


def deterministic(name: str, value: Tensor) -> Tensor:
    """`pyro.deterministic` that also takes a guide's lazy weight, and does not draw it."""
    site = Delta(value, event_dim=value.dim(), validate_args=False).mask(False)
    return pyro.sample(name, site, obs=value, infer={"_deterministic": True})
