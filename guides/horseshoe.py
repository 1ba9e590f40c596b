"""The approximate posterior of Bayesian compression with group horseshoe priors."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from ..distributions.handlers import parameters_are_wanted
from ..distributions.parameters import state_parameters
from ..posterior import Group, Posterior, WeightPosterior
from .base import NetworkGuide
from .groups import Bounds, product_moments, sizes
from .lazy_scales import LocalScaleLogNormal
from .local_reparameterization import LocalNormal

# Of Gauss-Hermite quadrature over log(z s), where a slab leaves no closed form.
_NODES = 32
_ITERATIONS = 50  # of a fixed point that comes nearer by half each time
# A weight is worth nothing below this share of its tensor's largest scale.
RESOLUTION = 0.01


class Horseshoe(NetworkGuide):
    """q = prod LogNormal(factor; loc, scale^2) prod N(base; loc, scale^2), locally reparameterised.

    The factors are those of the squared scale (z s)^2, so that log(z s) ~ N(M, V) with M half the
    sum of their locs and V a quarter of that of their squared scales. Parameters `loc` and
    `log_scale` of each factor (of its logarithm) and of each `<name>.base`. Drawn lazily, each
    example gets scales of its own, z and s (see `ScaledWeight`).

    :param model: a `models.Horseshoe`; the median of q(w) starts at its network's weights (and
        E_q[w] at exp(V/2), 1.005, times that), z s at the root mean square of the group's weights.
    :param init_scale: initial standard deviation of base and of all log factors (default 0.1).
    :param max_scale: upper bounds of the standard deviation of base, as of `NormalJeffreys`.
    :param local_reparameterization: draw activations and scales for each example (default).
    :raises ValueError: for another model, a scale that is not positive, or a bound of an unknown
        weight.
    """

    takes = "models.Horseshoe with centred=False (guides.HorseshoeFamily takes both)"
    needs = ("factors",)
    parts = (".base",)

    def __init__(
        self,
        model: nn.Module,
        init_scale: float = 0.1,
        max_scale: float | Mapping[str, float] | None = None,
        local_reparameterization: bool = True,
    ):
        super().__init__(model)
        if not init_scale > 0:
            raise ValueError(f"init_scale must be positive; got {init_scale}")
        self._bounds = Bounds(max_scale, self._names)
        # In a tuple, out of sight of nn.Module: its parameters are not the guide's.
        self._model = (model,)
        self._groups = model.groups
        self._factors = {name: tuple(model.factors(name)) for name in self._names}
        loc = {}
        for name, initial in model.initial_weights().items():
            start = start_of_factors(name, model)
            scale = self._bounded((sum(start.values()) / 2).exp())
            loc |= start | {f"{name}.base": initial / self._groups.along(name, scale)}
        self._add("loc", loc)
        log_scale = math.log(init_scale)
        self._add("log_scale", {k: torch.full_like(v, log_scale) for k, v in loc.items()})
        self.local_reparameterization = local_reparameterization

    def _parameters_of(self, site: str) -> tuple[Tensor, Tensor]:
        loc, log_scale = self._get("loc", site), self._get("log_scale", site)
        if site.endswith(".base"):
            log_scale = self._bounds(site.removesuffix(".base"), log_scale)
        return loc, log_scale

    def _bounded(self, scale: Tensor) -> Tensor:
        """What the slab, if there is one, makes of z s."""
        slab = self._model[0].slab
        return scale if slab is None else scale / torch.hypot(scale.new_ones(()), scale / slab)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        if self._model[0].learn_tau0 is not None and parameters_are_wanted():
            self.after_epoch()  # a loop of Pyro's knows no epochs
        state_parameters("guide", self)
        draws, lazy = {}, self.local_reparameterization
        for name in self._names:
            for site in self._factors[name]:
                if site in draws:
                    continue  # another weight shares it
                each = not (".local." in site and self._groups.owners[name] in self._groups.whole)
                q = LocalScaleLogNormal(*self._parameters_of(site), lazy=lazy, per_example=each)
                draws[site] = pyro.sample(site, q.to_event(1))
            site = f"{name}.base"
            q = LocalNormal(*self._parameters_of(site), lazy=lazy)
            draws[site] = pyro.sample(site, q.to_event(q.loc.dim()))
        return draws

    def composite(self, name: str) -> tuple[Tensor, Tensor]:
        """M, V of log(z s) ~ N(M, V), before any slab; shape `(groups,)`, or `(1,)` without z."""
        pairs = [self._parameters_of(site) for site in self._factors[name]]
        mean = sum(loc for loc, _ in pairs) / 2
        return mean, sum((2 * log_scale).exp() for _, log_scale in pairs) / 4

    def scale_moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and variance of the scale z s, slab included; shape of `composite`.

        In closed form, exp(M + V/2) and (exp(V) - 1) exp(2M + V); with a slab by Gauss-Hermite
        quadrature.
        """
        mean, variance = self.composite(name)
        if self._model[0].slab is None:
            first = torch.exp(mean + variance / 2)
            return first, torch.expm1(variance) * first.square()
        nodes, weights = map(mean.new_tensor, np.polynomial.hermite_e.hermegauss(_NODES))
        weights = weights / weights.sum()
        points = self._bounded(torch.exp(mean[:, None] + variance.sqrt()[:, None] * nodes))
        first = points @ weights
        return first, (points - first[:, None]).square() @ weights

    def centers(self) -> dict[str, Tensor]:
        """E_q[w] of each weight by name, with gradients."""
        result = {}
        for name in self._names:
            base = self._get("loc", f"{name}.base")
            result[name] = base * self._groups.along(name, self.scale_moments(name)[0])
        return result

    @torch.no_grad()
    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The product of the medians of scale and base, by weight."""
        result = {}
        for name in self._names:
            base = self._get("loc", f"{name}.base")
            result[name] = base * self._groups.along(
                name, self._bounded(self.composite(name)[0].exp())
            )
        return result

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of the factors and of base, by site; shape `(len(quantiles), *site.shape)`."""
        result, levels = {}, list(quantiles)
        for name in self._names:
            for site in (*self._factors[name], f"{name}.base"):
                loc, log_scale = self._parameters_of(site)
                q = Normal(loc, log_scale.exp())
                values = torch.stack([q.icdf(loc.new_tensor(level)) for level in levels])
                result[site] = values if site.endswith(".base") else values.exp()
        return result

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The moments of w = z s base, log alpha, and the score of each group.

        log alpha = log((Var_q[w] + r^2) / E_q[w]^2), where r is 1 % of the largest E_q[z s] of the
        tensor: in a group whose scale has gone the weights are next to nothing, though base may
        not have returned to its prior, and the marginal rate Var/E^2 does not see the scale.
        A group's score is V - M, the negative log of the mode of z s (before any slab), as
        published; without z there are no groups.
        """
        return Posterior({name: self._weight(name) for name in self._names})

    def _weight(self, name: str) -> WeightPosterior:
        base, log_base = self._parameters_of(f"{name}.base")
        mean, variance = self.scale_moments(name)
        along = [self._groups.along(name, values) for values in (mean, variance)]
        loc, spread = product_moments(*along, base, log_base.exp())
        noise = spread + (RESOLUTION * mean.max()).square()
        log_mean, log_variance = self.composite(name)
        groups = ()
        if self._model[0].scales != "global":
            groups = (Group(self._groups.axes[name], log_variance - log_mean),)
        return WeightPosterior(
            loc=loc,
            stddev=spread.sqrt(),
            inclusion=torch.ones(()),
            log_alpha=noise.log() - 2 * loc.abs().log(),
            groups=groups,
        )

    @torch.no_grad()
    def rebalance(self) -> None:
        """Share s^2 = a b out between its factors so that the KL is least, q(w) staying as it is.

        For a guide that was trained at another tau0 than its model's: E_q[a] / tau0^2, part of
        the KL, may be huge where a was left. With m = loc of log a, the loc of log b is the rest
        of the sum, and the KL is E[a]/tau0^2 - m + E[1/b] and a constant, stationary at
        exp(-m) = exp(v_a/2)/tau0^2 + exp(v_b/2 - sum).
        """
        for name in self._names:
            if self._model[0].scales != "local":
                a, spread_a = self._parameters_of(f"{name}.global.gamma")
                b, spread_b = self._parameters_of(f"{name}.global.inverse_gamma")
                whole = a + b
                least_a = (2 * spread_a).exp() / 2 - 2 * self._model[0].log_tau0(name)
                least_b = (2 * spread_b).exp() / 2 - whole
                a.copy_(-torch.logaddexp(least_a, least_b))
                b.copy_(whole - a)

    @torch.no_grad()
    def update_tau0(self) -> None:
        """Put the model's learned tau0 where the bound is largest, given q(w), and rebalance.

        The KL depends on tau0 by E_q[a] / tau0^2 + log tau0, a = `global.gamma` of the tensor. Its
        minimum over tau0 and over how a and b share s^2 is where E_q[1/b] = 1/2, in closed form for
        one tensor; where all share tau0, tau0^2 is twice the mean of their E_q[a], by iteration.

        :raises ValueError: if the model's tau0 is fixed.
        """
        model = self._model[0]
        if model.learn_tau0 is None:
            raise ValueError("tau0 is fixed: build the model with learn_tau0='layer' or 'global'")
        pairs = [
            [self._parameters_of(f"{name}.global.{part}") for part in ("gamma", "inverse_gamma")]
            for name in self._names
        ]
        whole = torch.cat([a + b for (a, _), (b, _) in pairs])
        half_a, half_b = (torch.cat([(2 * pair[k][1]).exp() / 2 for pair in pairs]) for k in (0, 1))
        squares = whole - half_b + half_a  # 2 log tau0 of each tensor by itself
        if model.learn_tau0 == "global":
            squares = _shared(squares, whole, half_a, half_b)
        model.learned.log_tau0.copy_(squares / 2)
        self.rebalance()

    def after_epoch(self) -> None:
        if self._model[0].learn_tau0 is not None:
            self.update_tau0()


def _shared(squares: Tensor, whole: Tensor, half_a: Tensor, half_b: Tensor) -> Tensor:
    """2 log tau0 of all tensors, shape `(1,)`, from those of each by itself; see `update_tau0`."""
    shared = squares.mean()
    for _ in range(_ITERATIONS):
        log_a = -torch.logaddexp(half_a - shared, half_b - whole)
        shared = math.log(2 / len(squares)) + torch.logsumexp(log_a + half_a, 0)
    return shared[None]


def start_of_factors(name: str, model: nn.Module) -> dict[str, Tensor]:
    """loc of the log factors, by site, that give scales the size of the weights at little KL.

    From where its KL is least, tau0^2 / 2 for `global.gamma`, a scale grows by the inverse gamma
    and shrinks by the gamma, whose KLs rise linearly in the log that way, not exponentially.
    """
    owner, members = model.groups.owners[name], model.groups.members(name)
    size, whole = _log_sizes(name, model)
    least = torch.minimum(2 * model.log_tau0(name).detach() - math.log(2), whole)
    rest = size - whole
    if len(members) > 1:
        # The mean over all weights of a group of their squares, relative to each tensor's own s^2.
        rests = torch.stack([torch.sub(*_log_sizes(other, model)) for other in members])
        counts = size.new_tensor([model.initial_weights()[other].numel() for other in members])
        rest = torch.logsumexp(rests + (counts / counts.sum()).log()[:, None], 0)
    locs = {
        f"{name}.global.gamma": least,
        f"{name}.global.inverse_gamma": whole - least,
        f"{owner}.local.gamma": rest.clamp(max=0.0),
        f"{owner}.local.inverse_gamma": rest if model.inverse_gamma else rest.clamp(min=0.0),
    }
    return {site: locs[site] for site in model.factors(name)}


def _log_sizes(name: str, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Logs of the mean squares of each group of a weight, and of s^2; shapes `(groups,)`, `()`."""
    size = 2 * sizes((model.initial_weights()[name], model.groups.axes[name])).log()
    return size, size.exp().mean().log() if model.scales != "local" else size.new_zeros(())
