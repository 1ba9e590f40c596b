"""Other approximate posteriors of the group horseshoe: Gamma scales, and weights themselves.

To compare with `Horseshoe`, whose scales are log-normal and whose weights are base times scale.
"""

import math

import pyro
import torch
from pyro.distributions import LogNormal
from torch import Tensor, nn

from ..distributions.half_cauchy import Gamma, InverseGamma
from ..distributions.parameters import state_parameters
from ..posterior import Group, Posterior, WeightPosterior
from .base import NetworkGuide
from .groups import product_moments
from .horseshoe import RESOLUTION, start_of_factors
from .local_reparameterization import LocalNormal

FAMILIES = ("log-normal", "gamma")


class HorseshoeFamily(NetworkGuide):
    """q = prod q(factor) prod N(base; loc, scale^2), or N(w; loc, scale^2) if the model is centred.

    With "gamma" the Gamma factors of the squared scale have a Gamma q and the inverse-Gamma ones an
    inverse-Gamma q, each with mean exp(loc); c = exp(-2 log_scale) is the concentration of the
    first, 1 + c that of the second (so that its mean exists), and about 1/c the variance of the
    logarithm. One draw of the scales serves the batch: gradients are noisier than `Horseshoe`'s.

    Centred, KL(q(w) || N(0, (z s)^2)) is exact given the draw of the scales. q(w) is then
    independent of the scales, which makes them no smaller than the weights' own uncertainty.

    :param model: a `models.Horseshoe`, centred or not; without `slab` unless centred.
    :param family: of the scales, "log-normal" (default) or "gamma".
    :param init_scale: initial standard deviation of the weights over their scale and, about, of
        all log factors (default 0.1).
    :param local_reparameterization: draw activations, not base or weights (default); scales are
        one draw for the batch either way.
    :raises ValueError: for a family that is none of these, and a slab where it has no moments.
    """

    takes = "models.Horseshoe"
    needs = ("factors",)

    def __init__(
        self,
        model: nn.Module,
        family: str = "log-normal",
        init_scale: float = 0.1,
        local_reparameterization: bool = True,
    ):
        super().__init__(model)
        if family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}; got {family!r}")
        if not init_scale > 0:
            raise ValueError(f"init_scale must be positive; got {init_scale}")
        if model.slab is not None and not model.centred:
            raise ValueError("with a slab use guides.Horseshoe, or a model with centred=True")
        self.family, self._centred = family, model.centred
        self.local_reparameterization = local_reparameterization
        self._grouped = model.scales != "global"
        self._groups = model.groups
        self._factors = {name: tuple(model.factors(name)) for name in self._names}
        loc, log_scale = {}, {}
        for name, initial in model.initial_weights().items():
            start = start_of_factors(name, model)
            loc |= start
            log_scale |= {k: torch.full_like(v, math.log(init_scale)) for k, v in start.items()}
            scale = self._groups.along(name, (sum(start.values()) / 2).exp()).expand_as(initial)
            own = scale if model.centred else torch.ones_like(initial)
            loc[_own(name)] = initial * own / scale
            log_scale[_own(name)] = (init_scale * own).log()
        self._add("loc", loc)
        self._add("log_scale", log_scale)

    def _q(self, site: str):
        """The approximate posterior of a factor."""
        loc, log_scale = self._get("loc", site), self._get("log_scale", site)
        if self.family == "log-normal":
            return LogNormal(loc, log_scale.exp())
        concentration = torch.exp(-2 * log_scale)
        if site.endswith(".inverse_gamma"):
            return InverseGamma(1 + concentration, torch.exp(loc - 2 * log_scale))
        return Gamma(concentration, torch.exp(-loc - 2 * log_scale))

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {}
        for name in self._names:
            for site in self._factors[name]:
                if site in draws:
                    continue  # another weight shares it
                draws[site] = pyro.sample(site, self._q(site).to_event(1))
            loc, log_scale = self._get("loc", _own(name)), self._get("log_scale", _own(name))
            q = LocalNormal(loc, log_scale, lazy=self.local_reparameterization)
            site = f"{name}.centred" if self._centred else _own(name)
            draws[site] = pyro.sample(site, q.to_event(q.loc.dim()))
        return draws

    @torch.no_grad()
    def scale_moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and variance of z s, in closed form; shape `(groups,)`, or `(1,)` without z."""
        qs = [self._q(site) for site in self._factors[name]]
        first = math.prod(_root_mean(q) for q in qs)
        return first, math.prod(q.mean for q in qs) - first.square()

    @torch.no_grad()
    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """E_q[w] of each weight, by name: the median of a centred one, near it for others."""
        return {name: weight.loc for name, weight in self.moments().weights.items()}

    def centers(self) -> dict[str, Tensor]:
        raise NotImplementedError("HorseshoeFamily does not go with a mixture: use Horseshoe")

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The moments, log alpha and the groups' scores, as those of `Horseshoe`."""
        return Posterior({name: self._weight(name) for name in self._names})

    def _weight(self, name: str) -> WeightPosterior:
        loc = self._get("loc", _own(name)).clone()
        stddev = self._get("log_scale", _own(name)).exp()
        mean, variance = self.scale_moments(name)
        spread = stddev.square()
        if not self._centred:
            along = [self._groups.along(name, values) for values in (mean, variance)]
            loc, spread = product_moments(*along, loc, stddev)
        noise = spread + (RESOLUTION * mean.max()).square()
        logs = [_log_moments(self._q(site)) for site in self._factors[name]]
        score = sum(v for _, v in logs) / 4 - sum(m for m, _ in logs) / 2
        return WeightPosterior(
            loc=loc,
            stddev=spread.sqrt(),
            inclusion=torch.ones(()),
            log_alpha=noise.log() - 2 * loc.abs().log(),
            groups=(Group(self._groups.axes[name], score),) if self._grouped else (),
        )


def _own(name: str) -> str:
    """The parameters of a weight's own normal: of base, or of the weight itself."""
    return f"{name}.base"


def _root_mean(q) -> Tensor:
    """E_q[sqrt x] of a factor."""
    if isinstance(q, LogNormal):
        return torch.exp(q.loc / 2 + q.scale.square() / 8)
    shape, sign = q.concentration, -1 if isinstance(q, InverseGamma) else 1
    return torch.exp(torch.lgamma(shape + sign / 2) - torch.lgamma(shape)) * q.rate ** (-sign / 2)


def _log_moments(q) -> tuple[Tensor, Tensor]:
    """Mean and variance of log x of a factor."""
    if isinstance(q, LogNormal):
        return q.loc, q.scale.square()
    sign = -1 if isinstance(q, InverseGamma) else 1
    mean = sign * (torch.digamma(q.concentration) - q.rate.log())
    return mean, torch.polygamma(1, q.concentration)
