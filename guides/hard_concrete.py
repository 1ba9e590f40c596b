"""The approximate posterior of L0 regularisation: hard-concrete gates on point weights."""

import math
from collections.abc import Iterable

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor, nn

from ..distributions.hard_concrete import RELAXATIONS, HardConcrete
from ..distributions.parameters import state_parameters
from ..posterior import Group, Posterior, WeightPosterior
from .base import NetworkGuide
from .lazy_scales import ScaleDraw
from .local_reparameterization import LazyWeight
from .noise import standard_normal

# log_alpha = BOUND tanh(parameter / BOUND) stays within the published +-log(100), smoothly: a gate
# that has all but closed is still open in 5 % of the draws, and so can open again.
BOUND = math.log(100.0)


class HardConcreteGates(NetworkGuide):
    """q = prod HardConcrete(gate; log_alpha) prod delta(base - loc).

    Gates of groups are drawn anew for each example, like the group scales of other methods; gates
    of single weights once a step.

    :param model: a `models.HardConcrete`; base starts at its network's weights.
    :param init_inclusion: probability that a gate is open at the start (default 0.97: the median of
        the gates is then 1).
    :param relaxation: "hard-concrete" (default), "concrete" or "straight-through"; see
        `distributions.HardConcrete`.
    :raises ValueError: for a probability outside (0, 1), or an unknown relaxation.
    """

    takes = "models.HardConcrete"
    needs = ("entropy",)
    parts = (".gate", ".base")
    divergence = False

    def __init__(
        self,
        model: nn.Module,
        init_inclusion: float = 0.97,
        relaxation: str = "hard-concrete",
    ):
        super().__init__(model)
        if not 0 < init_inclusion < 1:
            raise ValueError(f"init_inclusion must be within (0, 1); got {init_inclusion}")
        if relaxation not in RELAXATIONS:
            raise ValueError(f"relaxation must be one of {', '.join(RELAXATIONS)}")
        initial, self.grouped = model.initial_weights(), model.gates == "groups"
        start = math.log(init_inclusion) - math.log1p(-init_inclusion)
        start -= float(HardConcrete(torch.zeros(()), relaxation).log_odds)
        if not abs(start) < BOUND:
            raise ValueError(f"init_inclusion {init_inclusion} is beyond what gates can reach")
        self._groups = model.groups
        self._add("loc", {f"{k}.base": v for k, v in initial.items()})
        start = BOUND * math.atanh(start / BOUND)
        gates = {}
        for name, value in initial.items():
            shape = (self._groups.count(name),) if self.grouped else value.shape
            gates[self._site(name)] = value.new_full(shape, start)
        self._add("gate", gates)
        self.relaxation = relaxation

    def _site(self, name: str) -> str:
        """The site of a weight's gates."""
        return f"{self._groups.owners[name] if self.grouped else name}.gate"

    def _log_alpha(self, name: str) -> Tensor:
        return BOUND * torch.tanh(self._get("gate", self._site(name)) / BOUND)

    def _gate(self, name: str) -> HardConcrete:
        return HardConcrete(self._log_alpha(name), self.relaxation)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {}
        for name in self._names:
            loc, log_alpha = self._get("loc", f"{name}.base"), self._log_alpha(name)
            if (site := self._site(name)) not in draws:
                each = self._groups.owners[name] not in self._groups.whole
                gate = _LocalGate(log_alpha, self.relaxation, self.grouped, each)
                draws[site] = pyro.sample(site, gate.to_event(log_alpha.dim()))
            point = _LocalPoint if self.grouped else Delta
            base = point(loc, event_dim=loc.dim())
            draws[f"{name}.base"] = pyro.sample(f"{name}.base", base)
        return draws

    def centers(self) -> dict[str, Tensor]:
        """E_q[w] of each weight by name, with gradients."""
        return {name: self._times(name, self._gate(name).mean) for name in self._names}

    @torch.no_grad()
    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """Base times the gate's median, by weight."""
        return {name: self._times(name, self._gate(name).median) for name in self._names}

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of each gate and of base (a point), by site."""
        levels, result = list(quantiles), {}
        for name in self._names:
            gate, base = self._gate(name), self._get("loc", f"{name}.base")
            noise = torch.special.ndtri(torch.tensor(levels, dtype=base.dtype))
            result[self._site(name)] = torch.stack(
                [gate.of_noise(gate.log_alpha.new_full(gate.batch_shape, n)) for n in noise]
            )
            result[f"{name}.base"] = base.expand(len(levels), *base.shape)
        return result

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """Moments of gate times base; the score of a group is minus the log odds that it is open.

        Log alpha is that of the gate, log Var[z] / E[z]^2, the same for all weights of a group;
        infinite where the gate is shut.
        """
        weights = {}
        for name in self._names:
            gate, base = self._gate(name), self._get("loc", f"{name}.base")
            mean, variance = gate.mean, gate.variance
            alpha = torch.where(gate.inclusion < 0.5, torch.inf, variance / mean.square())
            groups = (Group(self._groups.axes[name], -gate.log_odds),) if self.grouped else ()
            weights[name] = WeightPosterior(
                loc=self._times(name, mean),
                stddev=self._times(name, variance.sqrt()).abs(),
                inclusion=self._along(name, gate.inclusion).clone(),
                log_alpha=self._along(name, alpha).log().expand(base.shape),
                groups=groups,
            )
        return Posterior(weights)

    def _times(self, name: str, gate: Tensor) -> Tensor:
        return self._get("loc", f"{name}.base") * self._along(name, gate)

    def _along(self, name: str, gates: Tensor) -> Tensor:
        """Values of gates in a shape that broadcasts to the weight."""
        return self._groups.along(name, gates) if self.grouped else gates


class _GateDraw(ScaleDraw):
    """A draw of gates, of which a layer may have one for each example."""

    def __init__(self, gates: HardConcrete, per_example: bool):
        super().__init__(gates.log_alpha, gates.log_alpha, False, per_example)
        self._gates = gates

    def _sample(self, batch: tuple[int, ...]) -> Tensor:
        shape = torch.Size((*batch, *self.shape))
        return self._gates.of_noise(standard_normal(shape, self._gates.log_alpha))


class _LocalGate(HardConcrete):
    """`HardConcrete` with the guides' noise, whose `rsample` is a `LazyScale` if `lazy`.

    :param per_example: see `LocalScaleNormal`.
    """

    def __init__(self, log_alpha: Tensor, relaxation: str, lazy: bool, per_example: bool = True):
        super().__init__(log_alpha, relaxation, noise=standard_normal)
        self.lazy, self.per_example = lazy, per_example

    def expand(self, batch_shape, _instance=None):
        log_alpha = self.log_alpha.expand(torch.Size(batch_shape))
        return _LocalGate(log_alpha, self.relaxation, self.lazy, self.per_example)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape or not self.lazy:
            return super().rsample(sample_shape)
        return _GateDraw(self, self.per_example)


class _Point(LazyWeight):
    """A weight without noise of its own, which gates multiply example by example."""

    def __init__(self, loc: Tensor):
        super().__init__(loc, torch.zeros_like(loc))

    def draw(self) -> Tensor:
        return self._loc

    def _noisy(self, func, x: Tensor, bias: Tensor | None, rest: tuple[tuple, dict]) -> Tensor:
        return func(x, self._loc, bias, *rest[0], **rest[1])


class _LocalPoint(Delta):
    """A Delta whose `rsample` is a `_Point`."""

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        return super().rsample(sample_shape) if sample_shape else _Point(self.v)
