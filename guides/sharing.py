"""What any guide adds for a model with a mixture: precisions, centers, and the grid they make."""

from dataclasses import replace

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor, nn

from ..posterior import Grid, Posterior

MERGE = 0.01  # nats, the mean divergence below which two components are one


class Sharing(nn.Module):
    """Points for the precisions of a model's mixture, and for the weights' centers.

    :param mixture: the mixture of a model of `bitsback.models`.
    """

    def __init__(self, mixture: nn.Module):
        super().__init__()
        # In a list, out of sight of nn.Module: its parameters are the model's.
        self._of = [mixture]
        self.log_precision = nn.Parameter(mixture.initial_precision().log())

    @property
    def mixture(self) -> nn.Module:
        return self._of[0]

    def precision(self) -> Tensor:
        """The sample statement of the precisions, scaled as the model's."""
        with poutine.scale(scale=self.mixture.weight):
            point = Delta(self.log_precision.exp(), event_dim=1)
            return pyro.sample("mixture.precision", point)

    def centers(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """The statements of precisions and centers, each center a point at the weight's mean."""
        draws = {"mixture.precision": self.precision()}
        with poutine.scale(scale=self.mixture.weight):
            for name, mean in means.items():
                site = f"{name}.center"
                draws[site] = pyro.sample(site, Delta(mean, event_dim=mean.dim()))
        return draws

    @torch.no_grad()
    def with_grids(self, posterior: Posterior) -> Posterior:
        """The posterior with a grid for each weight: the components' means as its codebook.

        Components that say the same are merged. A weight takes the mean of the component most
        responsible for its own mean.
        """
        density = self.mixture.density(self.log_precision.exp()).merged(MERGE)
        order = density.locs.argsort()
        place = order.argsort()
        codebook = density.locs[order]
        weights = {
            name: replace(w, grid=Grid(codebook=codebook, codes=place[density.codes(w.loc)]))
            for name, w in posterior.weights.items()
        }
        return replace(posterior, weights=weights)
