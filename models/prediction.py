"""Priors that cannot be sampled, where only predictions are wanted."""

from pyro import poutine
from pyro.distributions import Delta, Distribution
from torch import Tensor


def or_point(prior: Distribution, value: Tensor) -> Distribution:
    """`prior`; or a point at `value` where no density counts, under `poutine.mask(mask=False)`.

    That is how `pyro.infer.Predictive` runs a model, once without the draws that it has, to learn
    the shapes of its sites. A prior that cannot be sampled would stop it there.

    :param value: the value that stands in for a draw, of the prior's batch shape.
    """
    return Delta(value) if poutine.get_mask() is False else prior
