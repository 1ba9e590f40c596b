"""The site of a weight that follows from other sites."""

import pyro
from pyro.distributions import Delta
from torch import Tensor


def deterministic(name: str, value: Tensor) -> Tensor:
    """`pyro.deterministic` that also takes a guide's lazy weight, and does not draw it."""
    site = Delta(value, event_dim=value.dim(), validate_args=False).mask(False)
    return pyro.sample(name, site, obs=value, infer={"_deterministic": True})
