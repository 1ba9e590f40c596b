"""Fully factorised approximate posteriors: a normal, or a point, for each weight."""

from collections.abc import Iterable

import pyro
import torch
from pyro.distributions import Delta, Normal
from torch import Tensor, nn

from ..distributions.parameters import state_parameters
from ..posterior import Posterior, WeightPosterior
from .base import NetworkGuide
from .local_reparameterization import LocalNormal


class MeanFieldNormal(NetworkGuide):
    """q(w) = prod N(loc, exp(log_scale)^2), with local reparameterisation.

    The guide of sparse variational dropout (Molchanov et al. 2017: additive parametrisation,
    log alpha = 2 (log_scale - log |loc|)) and of a Gaussian prior.

    :param model: a model of `bitsback.models`; the means start at its network's weights.
    :param init_scale: initial standard deviation of every weight (default exp(-5)).
    :param local_reparameterization: draw activations, not weights (default); see
        `LazyWeight` for what that means in convolutions.
    """

    parts = ("",)

    def __init__(
        self,
        model: nn.Module,
        init_scale: float = 0.0067,
        local_reparameterization: bool = True,
    ):
        super().__init__(model)
        if not init_scale > 0:
            raise ValueError(f"init_scale must be positive; got {init_scale}")
        initial = model.initial_weights()
        self._add("loc", initial)
        log_scale = torch.tensor(init_scale, dtype=torch.float64).log().item()
        self._add("log_scale", {k: torch.full_like(v, log_scale) for k, v in initial.items()})
        self.local_reparameterization = local_reparameterization

    def _start_at(self, posterior: Posterior) -> None:
        """Take over means and, where they are not 0, standard deviations."""
        for name in self._names:
            weight = posterior.weights[name]
            self._get("loc", name).copy_(weight.loc)
            if weight.stddev.all():
                self._get("log_scale", name).copy_(weight.stddev.log())
        self._restart_mixture()

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {}
        for name in self._names:
            loc, log_scale = self._get("loc", name), self._get("log_scale", name)
            q = LocalNormal(loc, log_scale, lazy=self.local_reparameterization)
            draws[name] = pyro.sample(name, q.to_event(loc.dim()))
        return draws

    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of each weight, by name; shape `(len(quantiles), *weight.shape)`."""
        result = {}
        for name in self._names:
            loc = self._get("loc", name).detach()
            q = Normal(loc, self._get("log_scale", name).detach().exp())
            levels = torch.as_tensor(list(quantiles), dtype=loc.dtype, device=loc.device)
            result[name] = q.icdf(levels.reshape(-1, *[1] * loc.dim()))
        return result

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The moments, in closed form: loc, stddev = exp(log_scale), log alpha."""
        weights = {}
        for name in self._names:
            loc, log_scale = self._get("loc", name).clone(), self._get("log_scale", name)
            weights[name] = WeightPosterior(
                loc=loc,
                stddev=log_scale.exp(),
                inclusion=torch.ones(()),
                log_alpha=2 * (log_scale - loc.abs().log()),
            )
        return Posterior(weights)


class PointMass(NetworkGuide):
    """q(w) = delta(w - loc): MAP estimation; with a Gaussian prior, L2 regularisation.

    :param model: a model of `bitsback.models`; loc starts at its network's weights.
    """

    parts = ("",)
    divergence = False

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self._add("loc", model.initial_weights())

    def point(self, name: str) -> Tensor:
        """The weight itself, with its gradients; subclasses make it of other parameters."""
        return self._get("loc", name)

    def centers(self) -> dict[str, Tensor]:
        """The points, by name, with their gradients."""
        return {name: self.point(name) for name in self._names}

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The points, by name."""
        return {name: self.point(name).detach() for name in self._names}

    def _start_at(self, posterior: Posterior) -> None:
        """Take over the means."""
        for name in self._names:
            self._get("loc", name).copy_(posterior.weights[name].loc)
        self._restart_mixture()

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        return {
            name: pyro.sample(name, Delta(loc, event_dim=loc.dim()))
            for name in self._names
            for loc in [self.point(name)]
        }

    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Every quantile of a point is the point; shape `(len(quantiles), *weight.shape)`."""
        count = len(list(quantiles))
        return {k: v.expand(count, *v.shape) for k, v in self.median().items()}

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The points, with stddev 0 and no dropout rate to prune by."""
        return Posterior(
            {
                name: WeightPosterior(
                    loc=loc, stddev=torch.zeros_like(loc), inclusion=torch.ones(())
                )
                for name, loc in ((n, self.point(n).clone()) for n in self._names)
            }
        )
