"""A Gaussian prior, p(w) = N(0, scale^2): proper, and L2 regularisation under a point guide."""

import torch
from pyro.distributions import Distribution, Normal
from torch import Tensor, nn

from .network import NetworkModel


class Gaussian(NetworkModel):
    """Independent N(0, scale^2) on every latent weight.

    Proper, so the negative loss of any guide is a lower bound on the log marginal likelihood
    (given the point parameters). With `guides.PointMass` it is MAP estimation: the penalty
    |w|^2 / (2 scale^2) nats for the data set, weight decay 1 / (num_data scale^2) on the mean loss.

    :param scale: prior standard deviation of each weight, in the weight's units (default 0.1).

    The other parameters are those of `NetworkModel`.
    """

    proper = True

    def __init__(self, net: nn.Module, num_data: int, scale: float = 0.1, **kwargs):
        if not scale > 0:
            raise ValueError(f"scale, the prior standard deviation, must be positive; got {scale}")
        super().__init__(net, num_data, **kwargs)
        self.scale = scale

    def prior(self, name: str, weight: Tensor) -> Distribution:
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        zeros = torch.zeros_like(weight)
        return Normal(zeros, torch.full_like(zeros, self.scale), validate_args=False)
