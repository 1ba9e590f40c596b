"""Soft weight sharing: a mixture of Gaussians as the prior of the weights (Ullrich et al. 2017)."""

from collections.abc import Mapping
from typing import Any

import pyro
from pyro import poutine
from torch import Tensor, nn

from .network import NetworkModel


class SoftSharing(NetworkModel):
    """Every latent weight from one learnable mixture, all log densities of it times `weight`.

    The mixture (`mixture`, a `Mixture`) has its means and proportions as point parameters, and
    its precisions as the site `mixture.precision`. The prior is a probability density; to a power
    other than 1 (`weight`) it is tempered, and the loss is no bound on a marginal likelihood.

    :param mixture: options of `Mixture`, by name.

    The other parameters are those of `NetworkModel`.
    """

    proper = True

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        mixture: Mapping[str, Any] | None = None,
        **kwargs,
    ):
        super().__init__(net, num_data, mixture=mixture or {}, **kwargs)

    def sample_weights(self) -> dict[str, Tensor]:
        with poutine.scale(scale=self.mixture.weight):
            density = self.mixture()
            return {
                name: pyro.sample(name, density.expand(initial.shape).to_event(initial.dim()))
                for name, initial in self.initial_weights().items()
            }
