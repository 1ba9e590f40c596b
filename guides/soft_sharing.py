"""The guide of soft weight sharing: points for weights and precisions."""

from dataclasses import replace

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor, nn

from ..distributions.parameters import state_parameters
from ..posterior import Posterior
from .mean_field import PointMass


class SharedPoints(PointMass):
    """q = a point for each weight and for each component's precision: MAP estimation.

    :param model: a `SoftSharing` model; the points start at its network's weights and at the
        modes of the precisions' priors.
    """

    takes = "models.SoftSharing"
    draws_centers = False

    def __init__(self, model: nn.Module):
        if getattr(model, "mixture", None) is None:
            raise ValueError(f"{type(model).__name__} has no mixture to share: use PointMass")
        super().__init__(model)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {"mixture.precision": self.sharing.precision()}
        with poutine.scale(scale=self.sharing.mixture.weight):
            for name in self._names:
                loc = self._get("loc", name)
                draws[name] = pyro.sample(name, Delta(loc, event_dim=loc.dim()))
        return draws

    def centers(self) -> None:
        """None: the weights themselves are drawn to the components."""

    @torch.no_grad()
    def posterior(self, *args, **kwargs) -> Posterior:
        """The points, with the grid of the mixture.

        `log_alpha` is the log odds of component 0 against all others together, given the weight:
        0 where zero is as likely as not.
        """
        posterior = super().posterior()
        density = self.sharing.mixture.density(self.sharing.log_precision.exp())
        weights = {
            name: replace(w, log_alpha=density.log_odds(w.loc))
            for name, w in posterior.weights.items()
        }
        return replace(posterior, weights=weights)
