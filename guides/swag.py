"""SWAG (Maddox, Garipov, Izmailov, Vetrov and Wilson 2019): a normal fitted to SGD's iterates.

A Simple Baseline for Bayesian Uncertainty in Deep Learning, algorithm 1.
"""

import math
from collections.abc import Iterable

import pyro
import torch
from pyro.distributions import Delta, LowRankMultivariateNormal
from torch import Tensor, nn

from ..posterior import Posterior, WeightPosterior
from .base import normal_quantiles
from .mean_field import PointMass

# The least variance: a weight that never moved has none, and a density needs one.
_LEAST = 1e-12


class SWAG(PointMass):
    """q(w) = N(mean, (diag(variance) + D D^T / (K - 1)) / 2) of the points that training visited.

    Not a variational method: no bound is maximised, and how wide q is depends on the optimiser's
    learning rate and batch size, which have to stay constant and rather large while collecting.
    Train it as a `PointMass` (its loss is the log joint density, no bound) and call `collect()`
    every so often, once an epoch in the paper. mean and variance are those of all collected
    points; the K columns of D are the last points' deviations from the mean as it was then.

    In training mode a call of the guide gives the point as it is; after `guide.eval()` it draws
    from q, all weights together, as Pyro's AutoLowRankMultivariateNormal does. Only latent weights
    are collected: biases stay the last ones of training, unless the model's `latent` names them.

    :param model: a model of `bitsback.models` with a proper prior; points start at its network's
        weights.
    :param rank: most columns of D to keep (default 20); each takes as much memory as the weights.
    :raises ValueError: for a rank below 2 or an improper prior; when moments or draws are asked
        for before `collect()` was called twice.
    """

    def __init__(self, model: nn.Module, rank: int = 20):
        super().__init__(model)
        if rank < 2:
            raise ValueError(f"rank must be 2 at least; got {rank}")
        if not model.proper:
            raise ValueError(
                f"{type(model).__name__} has an improper prior, whose density has no maximum to "
                "collect points around: use a proper prior"
            )
        zeros = {k: torch.zeros_like(v) for k, v in model.initial_weights().items()}
        deviations = {k: v.new_zeros(rank, *v.shape) for k, v in zeros.items()}
        self._add("mean", zeros, trained=False)
        self._add("square", zeros, trained=False)  # sum of squared deviations from the mean
        self._add("deviation", deviations, trained=False)
        self.register_buffer("collected", torch.zeros((), dtype=torch.long))
        self.rank = rank

    @torch.no_grad()
    def collect(self) -> None:
        """Take the point as it is into the moments (Welford's update, which does not cancel)."""
        column = int(self.collected) % self.rank
        self.collected += 1
        for name in self._names:
            point, mean = self.point(name), self._get("mean", name)
            before = point - mean
            mean += before / self.collected
            self._get("square", name).add_(before * (point - mean))
            self._get("deviation", name)[column] = point - mean

    def _variances(self, name: str) -> tuple[Tensor, Tensor]:
        """Half the points' variances, and the columns such that their outer product adds to it."""
        count = int(self.collected)
        if count < 2:
            raise ValueError(
                f"SWAG has collected {count} points and needs two at least: call collect() after "
                "steps of training"
            )
        half = self._get("square", name) / (2 * count)
        scale = math.sqrt(2 * (min(count, self.rank) - 1))
        return half, self._get("deviation", name) / scale

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The mean of the collected points, by name; before there are any, the point."""
        if not int(self.collected):
            return super().median()
        return {name: self._get("mean", name).clone() for name in self._names}

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        if self.training:
            return super().forward()
        draw = pyro.sample("_swag", self.joint(), infer={"is_auxiliary": True})
        draws, start = {}, 0
        for name in self._names:
            mean = self._get("mean", name)
            value = draw[start : start + mean.numel()].to(mean).reshape(mean.shape)
            draws[name] = pyro.sample(name, Delta(value, event_dim=mean.dim()))
            start += mean.numel()
        return draws

    def joint(self) -> LowRankMultivariateNormal:
        """q of all weights in one float64 vector, in the order of the model's `weight_names`."""
        parts = [self._variances(name) for name in self._names]
        mean = torch.cat([self._get("mean", name).flatten() for name in self._names])
        diagonal = torch.cat([half.flatten() for half, _ in parts])
        columns = torch.cat([columns.flatten(1) for _, columns in parts], 1)
        return LowRankMultivariateNormal(
            mean.double(), columns.double().T, diagonal.double().clamp(min=_LEAST)
        )

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Marginal quantiles of each weight, by name; shape `(len(quantiles), *weight.shape)`."""
        return normal_quantiles(self.moments(), quantiles)

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The marginal moments, in closed form."""
        weights = {}
        for name in self._names:
            half, columns = self._variances(name)
            variance = (half + columns.square().sum(0)).clamp(min=_LEAST)
            loc = self._get("mean", name).clone()
            weights[name] = WeightPosterior(
                loc=loc,
                stddev=variance.sqrt(),
                inclusion=torch.ones(()),
                log_alpha=variance.log() - 2 * loc.abs().log(),
            )
        return Posterior(weights)
