"""A Laplace prior, p(w) = exp(-|w| / scale) / (2 scale): proper, and L1 regularisation."""

import torch
from pyro.distributions import Distribution
from pyro.distributions import Laplace as LaplaceDistribution
from torch import Tensor, nn

from .network import NetworkModel


class Laplace(NetworkModel):
    """Independent Laplace(0, scale) on every latent weight.

    Proper. Under a point guide it is MAP estimation with the penalty |w| / scale nats for the
    data set, 1 / (num_data scale) on the mean loss; a normal guide has a closed-form KL too
    (torch registers it).

    :param scale: of each weight, in the weight's units; the standard deviation is sqrt(2) scale.

    The other parameters are those of `NetworkModel`.
    """

    proper = True

    def __init__(self, net: nn.Module, num_data: int, scale: float = 0.1, **kwargs):
        if not scale > 0:
            raise ValueError(f"scale of the Laplace prior must be positive; got {scale}")
        super().__init__(net, num_data, **kwargs)
        self.scale = scale

    def prior(self, name: str, weight: Tensor) -> Distribution:
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        zeros = torch.zeros_like(weight)
        return LaplaceDistribution(zeros, torch.full_like(zeros, self.scale), validate_args=False)
