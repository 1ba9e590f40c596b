"""The approximate posterior of Bayesian Bits: chains of hard-concrete gates on point weights."""

import math
from collections.abc import Iterable

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor, nn

from ..distributions.gate_chain import GateChain as Chain
from ..distributions.hard_concrete import HardConcrete
from ..distributions.parameters import state_parameters
from ..distributions.quantiser import codes_of, largest_code, stored_step
from ..distributions.width_coupling import width_probabilities
from ..posterior import Grid, Group, Posterior, WeightPosterior
from .base import NetworkGuide
from .bops import relative_bops
from .bops_target import nearest_states
from .hard_concrete import BOUND
from .noise import standard_normal

OPEN = 0.66  # a gate more probable to be open than this is open in the end, as published
MOST_BITS = 16  # of what a file holds as integers
DECIDED = 40.0  # |log_alpha| of a gate that `meet` has decided: no draw in float32 is between


class GateChain(NetworkGuide):
    """q = prod GateChain(gate) prod delta(base - loc): gates are drawn once a step.

    log_alpha = B tanh(parameter / B), B = log 100, so that no gate closes for good: at the bound it
    is open in 4.7 % of the draws, unless `meet` has decided it. Gates by which compression goes are
    open where q(z > 0) is above `threshold`, a buffer, 0.66 as published;
    `settle()` tells the model those of its ReLUs, and `fit()` calls it after each step. After each
    epoch `fit()` adds an entry to `trajectory`: BOPs (see `bops`), beta, and for each tensor how
    many units are open and q(z > 0) of each width. A resumed run's begins where it was resumed.

    :param model: a `models.BayesianBits`; base starts at its network's weights, and stays there
        if the model freezes weights.
    :param init_inclusion: probability that a gate is open at the start, within (0.66, 0.998).
    :raises ValueError: for a model without gates, or a probability out of range.
    """

    takes = "models.BayesianBits"
    needs = ("relu_bits",)
    parts = (".base",)
    divergence = False

    def __init__(self, model: nn.Module, init_inclusion: float = 0.99):
        super().__init__(model)
        if not OPEN < init_inclusion < 0.998:
            raise ValueError(f"init_inclusion must be within ({OPEN}, 0.998); got {init_inclusion}")
        self.trajectory: list[dict] = []
        self._of = [model]  # in a list, out of sight of nn.Module: its parameters are the model's
        locs = {f"{k}.base": v for k, v in model.initial_weights().items()}
        self._add("loc", locs, trained=not model.freeze_weights)
        start = math.log(init_inclusion) - math.log1p(-init_inclusion)
        start -= float(HardConcrete(torch.zeros(())).log_odds)
        start = BOUND * math.atanh(start / BOUND)
        self._sites = tuple(s for s in (*self._names, *model.relus) if model.gates(s))
        gates = {f"{s}.gate": model.macs.new_full((model.gates(s),), start) for s in self._sites}
        self._add("gate", gates)
        # Of gates that `meet` has decided 1 (open for good) or -1.
        self._add("decided", {k: torch.zeros_like(v) for k, v in gates.items()}, trained=False)
        self.register_buffer("moved", torch.zeros((), dtype=torch.long))
        self.register_buffer("threshold", model.macs.new_tensor(OPEN))

    @property
    def model(self) -> nn.Module:
        return self._of[0]

    def chain(self, site: str) -> Chain:
        """The gates of a weight or a ReLU."""
        log_alpha = BOUND * torch.tanh(self._get("gate", f"{site}.gate") / BOUND)
        decided = self._get("decided", f"{site}.gate")
        log_alpha = torch.where(decided == 0, log_alpha, DECIDED * decided)
        units, independent = self.model.units(site), self.model.independent
        return Chain(log_alpha, units, standard_normal, independent)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {}
        for site in (*self._names, *self.model.relus):
            if site in self._sites:
                draws[f"{site}.gate"] = pyro.sample(f"{site}.gate", self.chain(site))
            if site in self._names:
                loc = self._get("loc", f"{site}.base")
                base = Delta(loc, event_dim=loc.dim())
                draws[f"{site}.base"] = pyro.sample(f"{site}.base", base)
        for first, second in self.model.pairs():
            joint = torch.outer(self.widths(first), self.widths(second))
            draws[f"{second}.coupling"] = pyro.sample(
                f"{second}.coupling", Delta(joint, event_dim=2)
            )
        if self.model.priced == "bops":
            draws["bops"] = pyro.sample("bops", Delta(sum(self.bops(expected=True).values())))
        return draws

    def widths(self, site: str) -> Tensor:
        """Probabilities of the widths of a weight or a ReLU, given that any unit is open."""
        _, gates = self.model.split(site, self.chain(site).gates.inclusion)
        return width_probabilities(self.model.reached(gates))

    def inclusions(self) -> dict[str, Tensor]:
        """q(z > 0) of each gate by weight or ReLU, units first."""
        return {site: self.chain(site).gates.inclusion for site in self._sites}

    @torch.no_grad()
    def states(self) -> dict[str, tuple[Tensor, int]]:
        """Which units are open (bool; none where they have no gates), and bits, by site."""
        result, found = {}, self.inclusions()
        for site in (*self._names, *self.model.relus):
            gate = (found[site] > self.threshold).to(self.model.macs) if site in found else None
            units, widths = self.model.split(site, gate)
            result[site] = units > 0, self.model.widths[int(self.model.reached(widths).sum())]
        return result

    def bops(self, expected: bool = False) -> dict[str, Tensor]:
        """Each layer's share of the BOPs of the network at 32 bits, by weight; see `bops`.

        :param expected: under q, with gradients; else of the gates by which compression goes.
        """
        if expected:
            gates = self.inclusions()
        else:
            gates = {s: (v > self.threshold).to(v.dtype) for s, v in self.inclusions().items()}
        return relative_bops(self.model, gates)

    @torch.no_grad()
    def meet(self, wanted: float) -> None:
        """Open or close every gate for good so that relative BOPs are near `wanted`.

        Most stay as q(z > 0) above `threshold` has them; see `nearest_states`. `moved`, a buffer,
        counts the others. Weights and ranges may be trained on, at these gates.
        """
        level = torch.logit(self.threshold)
        odds = {site: self.chain(site).gates.log_odds - level for site in self._sites}
        states = nearest_states(self.model, odds, wanted)
        for site, state in states.items():
            self._get("decided", f"{site}.gate").copy_(2 * state - 1)
        self.moved.fill_(sum(int((states[s] != (odds[s] > 0)).sum()) for s in states))
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Tell the model the bits of its ReLUs, for outputs without drawn gates."""
        states = self.states()
        for k, path in enumerate(self.model.relus):
            self.model.relu_bits[k] = states[path][1]

    def after_step(self, number: int) -> None:
        self.settle()

    @torch.no_grad()
    def after_epoch(self) -> None:
        """Log where the gates are: see `trajectory`."""
        entry = {
            "relative_bops": sum(self.bops().values()).item(),
            "expected_bops": sum(self.bops(expected=True).values()).item(),
            "beta": self.model.beta.item(),
            "gates": {},
        }
        for site, found in self.inclusions().items():
            n = self.model.units(site)
            entry["gates"][site] = {
                "units_open": int((found[:n] > self.threshold).sum()) if n else None,
                "widths": [round(p, 4) for p in found[n:].tolist()],
            }
        self.trajectory.append(entry)

    def after_training(self, x: Tensor, y: Tensor) -> None:
        self.settle()

    @torch.no_grad()
    def _codes(self, name: str) -> tuple[Tensor, Tensor, int]:
        """Integers and step of a weight, and its bits; the step is the one that a file holds."""
        units, bits = self.states()[name]
        loc = self._get("loc", f"{name}.base")
        step = stored_step(self.model.reach(name), bits, signed=True, x=loc)
        codes = codes_of(loc, step, bits, signed=True)
        if len(units):
            codes = codes * units.reshape(-1, *[1] * (loc.dim() - 1))
        return codes, step, bits

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The weights that compression takes: integers times a step, by name."""
        result = {}
        for name in self._names:
            codes, step, _ = self._codes(name)
            result[name] = codes.to(step.dtype) * step
        return result

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of each gate and of base (a point), by site."""
        levels, result = list(quantiles), {}
        for site in self._sites:
            gates = self.chain(site).gates
            noise = torch.special.ndtri(gates.log_alpha.new_tensor(levels))
            of_all = noise[:, None].expand(-1, gates.batch_shape[0])
            result[f"{site}.gate"] = gates.of_noise(of_all)
        for name in self._names:
            base = self._get("loc", f"{name}.base").detach()
            result[f"{name}.base"] = base.expand(len(levels), *base.shape)
        return result

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """Integers, steps and bits of weights and ReLUs; the score of a unit is minus its log odds.

        Above 16 bits a weight has no grid and a ReLU is not quantised.
        """
        self.settle()
        weights, medians, states = {}, self.median(), self.states()
        for name, value in medians.items():
            codes, step, bits = self._codes(name)
            most, grid, groups = largest_code(bits, True), None, ()
            if bits <= MOST_BITS:
                low, high = max(int(codes.min()), -most), min(int(codes.max()), most)
                codebook = step * torch.arange(low, high + 1, device=step.device)
                grid = Grid(codebook=codebook, codes=codes - low, step=step)
            if count := self.model.units(name):
                groups = (Group(0, -self.chain(name).gates.log_odds[:count]),)
            inclusion = (codes != 0).to(value.dtype)
            zeros = torch.zeros_like(value)
            weights[name] = WeightPosterior(value, zeros, inclusion, groups=groups, grid=grid)
        activations = {}
        for path in self.model.relus:
            bits = states[path][1]
            if bits <= MOST_BITS:
                step = stored_step(self.model.reach(path), bits, signed=False)
                activations[path] = Grid(step=step, bits=torch.tensor(bits))
        return Posterior(weights, activations)
