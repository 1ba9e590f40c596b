"""The approximate posterior of Bayesian compression with group normal-Jeffreys priors."""

import math
from collections.abc import Iterable, Mapping

import pyro
import torch
from torch import Tensor, nn

from ..distributions.groups import along, group_axis
from ..distributions.parameters import state_parameters
from ..posterior import Group, Posterior, WeightPosterior
from .base import NetworkGuide
from .groups import Bounds, product_moments, sizes
from .lazy_scales import LocalScaleNormal
from .local_reparameterization import LocalNormal


class NormalJeffreys(NetworkGuide):
    """q = prod N(z; loc, scale^2) prod N(base; loc, scale^2), locally reparameterised.

    Parameters `loc` and `log_scale` of each weight's sites `<name>.scale` and `<name>.base`, those
    of scale relative to where z starts. Drawn lazily, each example gets group scales of its own
    (see `ScaledWeight`).

    :param model: a `models.NormalJeffreys`; E_q[w] starts at its network's weights, z at the root
        mean square of those of its group.
    :param init_scale: initial standard deviation of base, and of z relative to z (default 0.1).
    :param max_scale: upper bounds of the standard deviation of base, by the weight's name, or one
        for all; smooth: 1 / (1/scale + 1/bound). The authors clip that of the first layer of
        LeNet-300-100 at 0.2. Default: none.
    :param local_reparameterization: draw activations and scales for each example (default).
    :raises ValueError: for a scale that is not positive, or a bound of an unknown weight.
    """

    takes = "models.NormalJeffreys"
    parts = (".scale", ".base")

    def __init__(
        self,
        model: nn.Module,
        init_scale: float = 0.1,
        max_scale: float | Mapping[str, float] | None = None,
        local_reparameterization: bool = True,
    ):
        super().__init__(model)
        initial = model.initial_weights()
        self._bounds = Bounds(max_scale, self._names)
        if not init_scale > 0:
            raise ValueError(f"init_scale must be positive; got {init_scale}")
        start, units = {}, {}
        for name, weight in initial.items():
            size = sizes(weight)
            # A unit of z, so that a learning rate means the same to all parameters.
            units[name] = size
            start |= {
                f"{name}.scale": torch.ones_like(size),
                f"{name}.base": weight / along(size, weight),
            }
        self._add("unit", units, trained=False)
        self._add("loc", start)
        log_scale = math.log(init_scale)
        self._add("log_scale", {k: torch.full_like(v, log_scale) for k, v in start.items()})
        self.local_reparameterization = local_reparameterization

    def _parameters_of(self, site: str) -> tuple[Tensor, Tensor]:
        loc, log_scale = self._get("loc", site), self._get("log_scale", site)
        if site.endswith(".scale"):
            unit = self._get("unit", site.removesuffix(".scale"))
            return loc * unit, log_scale + unit.log()
        return loc, self._bounds(site.removesuffix(".base"), log_scale)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws, lazy = {}, self.local_reparameterization
        for name in self._names:
            for part, family in (("scale", LocalScaleNormal), ("base", LocalNormal)):
                site = f"{name}.{part}"
                loc, log_scale = self._parameters_of(site)
                q = family(loc, log_scale, lazy=lazy)
                draws[site] = pyro.sample(site, q.to_event(loc.dim()))
        return draws

    def centers(self) -> dict[str, Tensor]:
        """E_q[w] of each weight by name, with gradients."""
        result = {}
        for name in self._names:
            scale, base = (self._parameters_of(f"{name}.{p}")[0] for p in ("scale", "base"))
            result[name] = base * along(scale, base)
        return result

    @torch.no_grad()
    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The product of the medians of scale and base, which is E_q[w], by weight."""
        return self.centers()

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of scale and base, by site; shape `(len(quantiles), *site.shape)`."""
        result = {}
        levels = list(quantiles)
        for site in (f"{name}.{part}" for name in self._names for part in ("scale", "base")):
            loc, log_scale = self._parameters_of(site)
            q = torch.distributions.Normal(loc, log_scale.exp())
            result[site] = torch.stack([q.icdf(loc.new_tensor(level)) for level in levels])
        return result

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The moments of w = z * base, in closed form.

        Log alpha is the marginal one, alpha = alpha_base + alpha_z + alpha_base alpha_z, the score
        of a group that of its scale, log alpha_z.
        """
        weights = {}
        for name in self._names:
            z, log_z = self._parameters_of(f"{name}.scale")
            base, log_base = self._parameters_of(f"{name}.base")
            loc, variance = product_moments(z, (2 * log_z).exp(), base, log_base.exp())
            score = 2 * (log_z - z.abs().log())
            weights[name] = WeightPosterior(
                loc=loc,
                stddev=variance.sqrt(),
                inclusion=torch.ones(()),
                log_alpha=variance.log() - 2 * loc.abs().log(),
                groups=(Group(group_axis(base), score),),
            )
        return Posterior(weights)
