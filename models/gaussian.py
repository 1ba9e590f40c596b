"""A Gaussian prior, p(w) = N(0, scale^2): proper, and L2 regularisation under a point guide."""

import math

import torch
from pyro.distributions import Distribution, Normal
from torch import Tensor, nn

from .network import NetworkModel

# With it, noise at the prior's level neither fades nor explodes from layer to layer of a ReLU
# network, and a network of the usual initialisation lies well within the prior.
GAIN = 2.0


class Gaussian(NetworkModel):
    """Independent N(0, scale^2) on every latent weight.

    Proper, so the negative loss of any guide is a lower bound on the log marginal likelihood
    (given the point parameters). With `guides.PointMass` it is MAP estimation: the penalty
    |w|^2 / (2 scale^2) nats for the data set, weight decay 1 / (num_data scale^2) on the mean loss.

    :param scale: prior standard deviation of each weight, in the weight's units; default:
        2 / sqrt(fan-in), the number of terms that an output sums (1 for an embedding, whose rows
        are looked up).

    The other parameters are those of `NetworkModel`.
    """

    proper = True

    def __init__(self, net: nn.Module, num_data: int, scale: float | None = None, **kwargs):
        if scale is not None and not scale > 0:
            raise ValueError(f"scale, the prior standard deviation, must be positive; got {scale}")
        super().__init__(net, num_data, **kwargs)
        self.scale = scale

    def prior(self, name: str, weight: Tensor) -> Distribution:
        scale = self.scale
        if scale is None:
            scale = GAIN / math.sqrt(self._fan_in[name])
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        zeros = torch.zeros_like(weight)
        return Normal(zeros, torch.full_like(zeros, scale), validate_args=False)
