"""A normal for each output unit, with a full covariance over the unit's weights."""

import math
from collections.abc import Iterable

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor, nn
from torch.nn import functional as F

from ..distributions.parameters import state_parameters
from ..distributions.row_normal import RowMultivariateNormal
from ..posterior import Posterior, WeightPosterior
from .base import NetworkGuide, normal_quantiles
from .local_reparameterization import _TINY, LazyWeight, _split
from .noise import standard_normal


class RowNormal(NetworkGuide):
    """q(w) = prod over output units r of N(loc_r, L_r L_r^T), L_r a full lower-triangular factor.

    A unit's weights are those of all its inputs, kernel positions included. Where a unit has n
    weights, L_r has n (n + 1) / 2 numbers (and is kept as a square of n^2): 64 inputs are no
    matter, LeNet-300-100's first layer would take 184 million. Parameters `loc`, `log_scale` (log
    of the factor's diagonal) and `lower` (below it, in units of the diagonal; starts at 0, which
    is `MeanFieldNormal`).

    :param model: `models.Gaussian`; the means start at its network's weights.
    :param init_scale: initial standard deviation of every weight (default exp(-5)).
    :param local_reparameterization: draw a dense layer's activations, not its weights (default):
        y_r ~ N(loc_r^T x, |L_r^T x|^2), which is exact, as units are independent. Convolutions and
        dense layers along a sequence use one draw of the weights for the whole batch.
    :raises ValueError: for an `init_scale` that is not positive, or a prior that is not normal.
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
        for name, weight in initial.items():
            prior = model.prior(name, weight)
            if not isinstance(prior, Normal):
                raise ValueError(
                    f"RowNormal needs a normal prior, to which its KL has a closed form; that of "
                    f"{name!r} is {type(prior).__name__}: use models.Gaussian"
                )
        sizes = {name: (len(w), w.numel() // len(w)) for name, w in initial.items()}
        self._add("loc", initial)
        log_scale = math.log(init_scale)
        self._add("log_scale", {k: torch.full_like(v, log_scale) for k, v in initial.items()})
        self._add("lower", {k: v.new_zeros(*sizes[k], sizes[k][1]) for k, v in initial.items()})
        self.local_reparameterization = local_reparameterization

    def _parameters_of(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        return self._get("loc", name), self._get("log_scale", name), self._get("lower", name)

    def _start_at(self, posterior: Posterior) -> None:
        """Take over means and, where they are not 0, standard deviations; no correlations."""
        for name in self._names:
            weight, (loc, log_scale, lower) = posterior.weights[name], self._parameters_of(name)
            loc.copy_(weight.loc)
            if weight.stddev.all():
                log_scale.copy_(weight.stddev.log())
                lower.zero_()
        self._restart_mixture()

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        lazy = self.local_reparameterization
        return {
            name: pyro.sample(name, LocalRowNormal(*self._parameters_of(name), lazy=lazy))
            for name in self._names
        }

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Marginal quantiles of each weight, by name; shape `(len(quantiles), *weight.shape)`."""
        return normal_quantiles(self.moments(), quantiles)

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The marginal moments, in closed form: stddev is the norm of a row of the factor."""
        weights = {}
        for name in self._names:
            q = RowMultivariateNormal(*self._parameters_of(name))
            variance = q.variance
            weights[name] = WeightPosterior(
                loc=q.loc.clone(),
                stddev=variance.sqrt(),
                inclusion=torch.ones(()),
                log_alpha=variance.log() - 2 * q.loc.abs().log(),
            )
        return Posterior(weights)


class LazyRowWeight(LazyWeight):
    """A draw of a `RowMultivariateNormal` that dense layers turn into noisy activations.

    :param q: the distribution.
    """

    def __init__(self, q: RowMultivariateNormal):
        super().__init__(q.loc, torch.exp(q.log_scale))
        self._q = q

    def _sample(self) -> Tensor:
        return self._q.at(standard_normal(self.shape, self._loc))

    def _stays_lazy_in(self, func) -> bool:
        return func is F.linear and self._tensor is None

    def _activations(self, func, args: tuple, kwargs: dict) -> Tensor:
        x, bias, _ = _split(args, kwargs)
        if x.dim() > 2:  # along a sequence, whose positions one draw correlates
            return func(x, self.draw(), bias)
        return super()._activations(func, args, kwargs)

    def _noisy(self, func, x: Tensor, bias: Tensor | None, rest: tuple[tuple, dict]) -> Tensor:
        mean = func(x, self._loc, bias)
        columns = self._q.factor.transpose(-1, -2).flatten(0, 1)  # of L_r, all rows' in turn
        parts = func(x, columns).reshape(*mean.shape, -1)
        variance = parts.square().sum(-1)
        return mean + torch.sqrt(variance + _TINY) * standard_normal(mean.shape, mean)


class LocalRowNormal(RowMultivariateNormal):
    """A `RowMultivariateNormal` whose `rsample` is a `LazyRowWeight`.

    :param lazy: False makes `rsample` an ordinary tensor, with noise of the same source.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, lower: Tensor, lazy: bool = True):
        super().__init__(loc, log_scale, lower)
        self.lazy = lazy

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape:
            return super().rsample(sample_shape)
        weight = LazyRowWeight(self)
        return weight if self.lazy else weight.draw()
