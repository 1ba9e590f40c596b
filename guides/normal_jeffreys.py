"""The approximate posterior of Bayesian compression with group normal-Jeffreys priors."""

import math
from collections.abc import Iterable, Mapping

import pyro
import torch
from torch import Tensor, nn

from ..distributions.parameters import state_parameters
from ..posterior import Group, Posterior, WeightPosterior
from .base import NetworkGuide
from .groups import Bounds, product_moments, shared_sizes
from .lazy_scales import LocalScaleNormal
from .local_reparameterization import LocalNormal


class NormalJeffreys(NetworkGuide):
    """q = prod N(z; loc, scale^2) prod N(base; loc, scale^2), locally reparameterised.

    Parameters `loc` and `log_scale` of each site `<name>.scale` and `<name>.base` of the model,
    those of scale relative to where z starts. Drawn lazily, each example gets group scales of its
    own (see `ScaledWeight`).

    :param model: a `models.NormalJeffreys`; E_q[w] starts at its network's weights, z at the root
        mean square of those of its group, over all weights that share it.
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
        self._groups = model.groups
        start, units = {}, {}
        for name, weight in initial.items():
            owner, size = self._groups.owners[name], shared_sizes(model, name)
            # A unit of z, so that a learning rate means the same to all parameters.
            units[owner] = size
            start |= {
                f"{owner}.scale": torch.ones_like(size),
                f"{name}.base": weight / self._groups.along(name, size),
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
            owner = self._groups.owners[name]
            if (site := f"{owner}.scale") not in draws:
                each = owner not in self._groups.whole
                q = LocalScaleNormal(*self._parameters_of(site), lazy=lazy, per_example=each)
                draws[site] = pyro.sample(site, q.to_event(1))
            site = f"{name}.base"
            q = LocalNormal(*self._parameters_of(site), lazy=lazy)
            draws[site] = pyro.sample(site, q.to_event(q.loc.dim()))
        return draws

    def _scale(self, name: str) -> tuple[Tensor, Tensor]:
        """loc and log scale of the z of a weight, which broadcast to it."""
        pair = self._parameters_of(f"{self._groups.owners[name]}.scale")
        return tuple(self._groups.along(name, values) for values in pair)

    def centers(self) -> dict[str, Tensor]:
        """E_q[w] of each weight by name, with gradients."""
        return {
            name: self._parameters_of(f"{name}.base")[0] * self._scale(name)[0]
            for name in self._names
        }

    @torch.no_grad()
    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The product of the medians of scale and base, which is E_q[w], by weight."""
        return self.centers()

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of scale and base, by site; shape `(len(quantiles), *site.shape)`."""
        result = {}
        levels = list(quantiles)
        owners = self._groups.owners
        for site in (s for name in self._names for s in (f"{owners[name]}.scale", f"{name}.base")):
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
            z, log_z = self._scale(name)
            base, log_base = self._parameters_of(f"{name}.base")
            loc, variance = product_moments(z, (2 * log_z).exp(), base, log_base.exp())
            score = 2 * (log_z - z.abs().log()).flatten()
            weights[name] = WeightPosterior(
                loc=loc,
                stddev=variance.sqrt(),
                inclusion=torch.ones(()),
                log_alpha=variance.log() - 2 * loc.abs().log(),
                groups=(Group(self._groups.axes[name], score),),
            )
        return Posterior(weights)
