"""The group horseshoe prior (BC-GHS of Louizos, Ullrich and Welling 2017)."""

import math

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from ..distributions.half_cauchy import Gamma, InverseGamma
from ..distributions.parameters import state_parameters
from .deterministic import deterministic
from .grouped import GroupedModel, Sample

SCALES = ("both", "global", "local")
LEARN = (None, "layer", "global")
LEAST, MOST = 1e-19, 1e19  # of tau0, whose inverse square is to be a float32


def check_tau0(option: str, value: float) -> None:
    """Refuse a tau0 whose inverse square float32 does not hold.

    :raises ValueError: names the option.
    """
    if not LEAST <= value <= MOST:
        raise ValueError(
            f"{option} {value:g}: must be within {LEAST:g} and {MOST:g}, since the prior computes "
            "with 1 / tau0^2 in float32"
        )


class Horseshoe(GroupedModel):
    """w = z s base with base ~ N(0, 1), s ~ C+(0, tau0) for a tensor, z ~ C+(0, 1) for a group.

    Groups are the input units of a dense layer and the output maps of a convolution. Layers of a
    traced network (`graph.trace`) that have the same units share z, but not s. C+ is the
    half-Cauchy distribution. Proper, so the negative loss of any guide is a lower bound on the log
    marginal likelihood (given the point parameters).

    Sites, for each latent weight `<name>`: `<name>.global.gamma` and `.global.inverse_gamma`
    (shape `(1,)`, their product is s^2), `<name>.local.gamma` and `.local.inverse_gamma` (shape
    `(groups,)`, product z^2; of weights that share z under the name of the first), `<name>.base`
    (the weight's shape), and `<name>` itself, deterministic: base times scale.

    :param tau0: scale of s (default 1e-5, as published), in the weight's units; within 1e-19 and
        1e19.
    :param learn_tau0: None (default): tau0 is fixed; "layer": one for each weight tensor, "global":
        one for all, parameters that start at `tau0` and train with the others: type-II maximum
        likelihood.
    :param scales: "both" (default), or "global" (no z) or "local" (no s) alone.
    :param slab: c of the regularised horseshoe (Piironen and Vehtari 2017): the scale x = z s
        becomes c x / sqrt(c^2 + x^2), at most c; default: none.
    :param inverse_gamma: shape and scale of a prior z^2 ~ InverseGamma in place of the half-Cauchy;
        as both go to 0 it becomes p(z) proportional to 1/z. Then there is no `.local.gamma`.
    :param centred: the weight is drawn from N(0, (z s)^2) itself, at the site `<name>.centred`, and
        there is no `<name>.base`: the same prior, for `guides.HorseshoeFamily`, Pyro's guides and
        NUTS.

    The other parameters are those of `NetworkModel`.

    :raises ValueError: for a number out of range, or an option that is none of the above.
    """

    proper = True

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        tau0: float = 1e-5,
        learn_tau0: str | None = None,
        scales: str = "both",
        slab: float | None = None,
        inverse_gamma: tuple[float, float] | None = None,
        centred: bool = False,
        **kwargs,
    ):
        super().__init__(net, num_data, **kwargs)
        if scales not in SCALES:
            raise ValueError(f"scales must be one of {', '.join(SCALES)}; got {scales!r}")
        if learn_tau0 not in LEARN:
            raise ValueError(f"learn_tau0 must be None, 'layer' or 'global'; got {learn_tau0!r}")
        for name, values in (("tau0", [tau0]), ("slab", [slab]), ("inverse_gamma", inverse_gamma)):
            if not all(v is None or v > 0 for v in values or ()):
                raise ValueError(f"{name} must be positive; got {values}")
        check_tau0("tau0", tau0)
        if learn_tau0 and scales == "local":
            raise ValueError("learn_tau0 needs a global scale, which scales='local' has not")
        self.scales, self.slab, self.inverse_gamma = scales, slab, inverse_gamma
        self.tau0, self.learn_tau0, self.centred = float(tau0), learn_tau0, centred
        count = {None: 0, "global": 1, "layer": len(self.weight_names)}[learn_tau0]
        self.learned = nn.Module()
        if count:
            like = next(iter(self.initial_weights().values()))
            start = torch.full_like(like.new_empty(count), math.log(tau0))
            self.learned.register_parameter("log_tau0", nn.Parameter(start))

    def log_tau0(self, name: str) -> Tensor:
        """log tau0 of a weight tensor, shape `(1,)`."""
        if self.learn_tau0 is None:
            like = self.initial_weights()[name]
            return torch.full_like(like.new_empty(1), math.log(self.tau0))
        values = self.learned.log_tau0
        if self.learn_tau0 == "global":
            return values
        index = self.weight_names.index(name)
        return values[index : index + 1]

    def factors(self, name: str) -> dict[str, Gamma | InverseGamma]:
        """The priors of the independent factors of (z s)^2, by site."""
        initial, owner = self.initial_weights()[name], self.groups.owners[name]
        one, groups = initial.new_ones(1), initial.new_ones(self.groups.count(name))
        result = {}
        if self.scales != "local":
            rate = torch.exp(-2 * self.log_tau0(name))
            result[f"{name}.global.gamma"] = Gamma(one / 2, rate)
            result[f"{name}.global.inverse_gamma"] = InverseGamma(one / 2, one)
        if self.scales != "global":
            if self.inverse_gamma is None:
                result[f"{owner}.local.gamma"] = Gamma(groups / 2, groups)
            shape, scale = self.inverse_gamma or (0.5, 1.0)
            prior = InverseGamma(shape * groups, scale * groups)
            result[f"{owner}.local.inverse_gamma"] = prior
        return result

    def sample_weights(self) -> dict[str, Tensor]:
        state_parameters("prior", self.learned)
        return super().sample_weights()

    def scaled(self, name: str, initial: Tensor, sample: Sample) -> Tensor:
        # Roots first, and hypot: the tails are heavy enough for squares to overflow.
        scale = 1.0
        for site, prior in self.factors(name).items():
            scale = sample(site, prior.to_event(1)).sqrt() * scale
        if self.slab is not None:
            scale = scale / torch.hypot(initial.new_ones(()), scale / self.slab)
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        zeros = torch.zeros_like(initial)
        if self.centred:
            wide = self.groups.along(name, scale).expand_as(initial)
            prior = Normal(zeros, wide, validate_args=False).to_event(initial.dim())
            # Not at `name`: Pyro's guides keep "w.global.gamma" as an attribute of "w".
            return deterministic(name, pyro.sample(f"{name}.centred", prior))
        standard = Normal(zeros, torch.ones_like(initial), validate_args=False)
        base = pyro.sample(f"{name}.base", standard.to_event(initial.dim()))
        return deterministic(name, base * self.groups.along(name, scale))
