"""Gates that choose bits and units together (van Baalen et al. 2020, Bayesian Bits)."""

import math
from collections.abc import Sequence

import pyro
import torch
from pyro import poutine
from pyro.distributions import Normal
from torch import Tensor, nn

from ..distributions.bops_price import FLOAT_BITS, INPUT_BITS, BopsPrice
from ..distributions.gate_chain import OBJECTIVES, ChainPrior, reached
from ..distributions.parameters import state_parameters
from ..distributions.quantiser import (
    check_widths,
    quantise,
    quantised_relu,
    stored_step,
    with_scaled_gradient,
)
from ..distributions.width_coupling import WidthCoupling
from .core.names import key
from .deterministic import deterministic
from .gated_relu import gated, inputs_of, put_in
from .network import NetworkModel
from .prediction import or_point
from .ranges import RANGES, lsq_range, lsq_scale, measured, weight_range

GATES = ("chain", "independent")
PRICED = ("bits", "bops")
START = 512  # examples at most that the first ranges of activations are read off


class BayesianBits(NetworkModel):
    """w = z0 (x2 + z4 (e4 + z8 e8)): weights and ReLU outputs on grids that gates refine.

    Each weight tensor has a gate for each output unit (but none in the layer of the network's
    outputs) and one for each width beyond the first; each ReLU between two layers has the latter.
    Ranges are point parameters: [-r, r] of weights, [0, r] of ReLUs. ReLUs are quantised in a graph
    (`graph.trace`), residual networks included, and in an nn.Sequential: where nothing but pooling
    and movements stands between them and a layer of weights. Other networks' are not.

    Sites: for each latent weight `<name>.gate`, shape `(units + widths - 1,)`, `<name>.base`, and
    `<name>`, deterministic; for each ReLU `<path>.gate`, its path in an nn.Sequential, its name in
    a graph (`graph.relu_names`). A site without gates is left out. The
    prior is no density (see `distributions.ChainPrior`): other guides than METHODS' are refused.
    With `coupling` each pair of neighbours has `<later>.coupling`, see `WidthCoupling`; with
    `priced="bops"` there is one site `bops`, see `BopsPrice`.

    The price of b bits is num_data * cost * b * MACs / (MACs of the largest layer) nats, with a
    ReLU charged the MACs of the layers behind it; times `beta`, a buffer, 1 at the start, which
    `--target-bops` moves, below 0 too. MACs are counted at the first call, or by `measure`.

    :param cost: the published mu, nats for each example, of a bit of the largest layer.
    :param widths: bits; each divides the next. Default 2, 4, 8: the published search on MNIST.
        1 bit of a weight is its sign times the tensor's mean magnitude, and of a ReLU 0 or r.
    :param prune: whether units have gates; without them precision is all that is learned.
    :param bits: whether widths have gates; without them all are open, and units are pruned alone.
        Without either all is quantised at the last width, and there is nothing to choose.
    :param ranges: "published" (default), or one of two baselines at a fixed width, which need
        `bits=False` and widths of one entry: "lsq" (Esser et al. 2020) starts where they start and
        has their scale of gradients; "pact" (Choi et al. 2018) does so for weights alone, while
        ReLUs' ranges get gradients of clipped values only.
    :param gates: "chain" (default), or "independent": a width's gate then counts whether or not
        those of narrower ones are open, and a tensor has the widest whose gate is.
    :param coupling: price of each bit by which the widths of neighbours in the order of computation
        (a weight and the ReLU before or behind it) differ, as a share of the price of a bit of the
        later one at beta = 1; not multiplied by beta. Default 0: widths are independent.
    :param priced: "bits" (default), as above and as published, tensor by tensor; or "bops": gates
        have no prices of their own, and the network's BOPs under q have one, products of bits of
        weights and of inputs. A bit of the largest layer's weights then costs what it does above
        where inputs have 8 bits.
    :param freeze_weights: whether gates and ranges alone are trained, and neither base nor the
        network's other parameters are: after training, as it were (default False).
    :param objective: "published" (default) or "exact"; see `distributions.ChainPrior`.
    :param slab: prior standard deviation of base (default 1), L2 regularisation.

    The other parameters are those of `NetworkModel`.

    :raises ValueError: for a cost or slab out of range, widths that do not nest, an unknown
        objective, unknown gates or prices, or ranges that are unknown or need a fixed width.
    """

    proper = False

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        cost: float = 0.1,
        widths: Sequence[int] = (2, 4, 8),
        prune: bool = True,
        bits: bool = True,
        objective: str = "published",
        slab: float = 1.0,
        ranges: str = "published",
        gates: str = "chain",
        coupling: float = 0.0,
        priced: str = "bits",
        freeze_weights: bool = False,
        **kwargs,
    ):
        super().__init__(net, num_data, **kwargs)
        if not 0 < cost < math.inf:
            raise ValueError(f"cost, nats for each example, must be positive; got {cost}")
        if not (0 <= coupling < math.inf and (bits or coupling == 0)):
            raise ValueError(f"coupling must be 0 or more, and 0 where bits=False; got {coupling}")
        if not slab > 0:
            raise ValueError(f"slab, a prior standard deviation, must be positive; got {slab}")
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}")
        if ranges not in RANGES:
            raise ValueError(f"ranges must be one of {', '.join(RANGES)}; got {ranges!r}")
        if priced not in PRICED:
            raise ValueError(f"priced must be one of {', '.join(PRICED)}; got {priced!r}")
        if gates not in GATES:
            raise ValueError(f"gates must be one of {', '.join(GATES)}; got {gates!r}")
        self.widths = check_widths(widths)
        if ranges != "published" and (bits or len(self.widths) > 1):
            raise ValueError(f"ranges={ranges!r} needs bits=False and one width; got {self.widths}")
        self.cost, self.prune, self.bits, self.ranges = cost, prune, bits, ranges
        self.objective, self.slab = objective, slab
        self.coupling, self.priced = coupling, priced
        self.independent, self.freeze_weights = gates == "independent", freeze_weights
        self.inputs = inputs_of(net, self.weight_names)
        self.relus: dict[str, list[str]] = {}  # and the weights behind each
        for name, (relu, _) in self.inputs.items():
            if relu is not None:
                self.relus.setdefault(relu, []).append(name)
        self.net = put_in(self.net, self.relus)
        if freeze_weights:
            self.net.requires_grad_(False)
        initial = self.initial_weights()
        like, self.log_range = next(iter(initial.values())), nn.ParameterDict()
        for name, value in initial.items():
            reach = weight_range(value, self.widths[0], lsq=ranges != "published")
            self.log_range[key(name)] = nn.Parameter(reach.log())
        for path in self.relus:
            self.log_range[key(path)] = nn.Parameter(like.new_zeros(()))
        self.register_buffer("beta", like.new_tensor(1.0))
        self.register_buffer("level", like.new_tensor(1.0))  # the slow part of beta
        self.register_buffer("macs", like.new_zeros(len(initial)))
        full = like.new_tensor([self.widths[-1]] * len(self.relus), dtype=torch.long)
        self.register_buffer("relu_bits", full)
        self._measured = False

    def units(self, site: str) -> int:
        """Gates of units of a weight (by name) or a ReLU (by path; 0)."""
        if site not in self.inputs or not self.prune or site == self.weight_names[-1]:
            return 0
        return len(self.initial_weights()[site])

    def gates(self, site: str) -> int:
        """All gates of a weight or a ReLU."""
        return self.units(site) + (len(self.widths) - 1 if self.bits else 0)

    def reach(self, site: str) -> Tensor:
        """The end of the range of a weight or a ReLU, scalar, with its gradient."""
        return self.log_range[key(site)].exp()

    def reached(self, widths: Tensor) -> Tensor:
        """Whether at least each width beyond the first is in use; see `gate_chain.reached`."""
        return reached(widths, self.independent)

    def quantised(self, site: str, x: Tensor, gates: Tensor) -> Tensor:
        """A weight or a ReLU's inputs x on its grid, by the gates of its widths."""
        reach, signed = self.reach(site), site in self.inputs
        lsq = self.ranges == "lsq" or (self.ranges == "pact" and signed)
        if lsq:
            count = x.numel() if signed else x[0].numel()
            reach = with_scaled_gradient(reach, lsq_scale(count, self.widths[0], signed))
        clip_only = self.ranges == "pact" and not signed
        return quantise(x, reach, self.widths, gates, signed, clip_only, self.independent)

    def split(self, site: str, gate: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gates of units and of widths; where there are none of widths, ones."""
        like = self.macs
        gate = like.new_ones(0) if gate is None else gate
        first, rest = gate[: self.units(site)], gate[self.units(site) :]
        return first, (rest if self.bits else like.new_ones(len(self.widths) - 1))

    def price(self, site: str) -> Tensor:
        """Nats of one bit of a weight or a ReLU where beta is 1, scalar."""
        names = self.relus.get(site, [site])
        macs = sum(self.macs[self.weight_names.index(name)] for name in names)
        return self.num_data * self.cost * macs / self.macs.max().clamp(min=1)

    def prior(self, name: str, weight: Tensor | None = None) -> ChainPrior:
        """The prior of the gates of a weight or a ReLU."""
        prices = self.beta * self.price(name) * self.macs.new_tensor(self.widths)
        prices = prices if self.priced == "bits" else torch.zeros_like(prices)
        units = self.units(name)
        if not self.bits:
            prices = torch.cat([prices.sum().reshape(1), prices[:0]])
        return ChainPrior(prices[0], prices[1:], units, self.objective, self.independent)

    def gate(self, site: str) -> Tensor | None:
        """The sample statement of a site's gates, None if it has none."""
        if not self.gates(site):
            return None
        ones = self.macs.new_ones(self.gates(site))
        prior = self.prior(site)
        if poutine.get_mask() is False:
            prior = or_point(prior, ones).to_event(1)
        return pyro.sample(f"{site}.gate", prior)

    def pairs(self) -> list[tuple[str, str]]:
        """Neighbours whose widths are coupled, the later second; none without `coupling`."""
        found = []
        for name, (relu, before) in self.inputs.items() if self.coupling else ():
            if relu is not None and before is not None:
                found.append((before, relu))
            if relu is not None:
                found.append((relu, name))
        return found

    def couple(self, site: str) -> None:
        """The sample statement of a site's widths beside those of its neighbour before it."""
        prior = WidthCoupling(self.coupling * self.price(site), self.widths)
        if poutine.get_mask() is False:
            prior = or_point(prior, torch.zeros_like(prior.prices)).to_event(2)
        pyro.sample(f"{site}.coupling", prior)

    def price_of_bops(self) -> Tensor:
        """Nats of all BOPs of the network at 32 bits, with `priced="bops"`; scalar."""
        bits = self.macs.sum() / self.macs.max().clamp(min=1) * FLOAT_BITS**2 / INPUT_BITS
        return self.beta * self.num_data * self.cost * bits

    def weight(self, name: str, initial: Tensor) -> Tensor:
        gate = self.gate(name)
        zeros = torch.zeros_like(initial)
        slab = Normal(zeros, torch.full_like(zeros, self.slab))
        base = pyro.sample(f"{name}.base", slab.to_event(initial.dim()))
        units, widths = self.split(name, gate)
        value = self.quantised(name, base, widths)
        if self.units(name):
            value = value * units.reshape(-1, *[1] * (value.dim() - 1))
        return deterministic(name, value)

    def sample_weights(self) -> dict[str, Tensor]:
        state_parameters("log_range", self.log_range)
        weights = super().sample_weights()
        for path in self.relus:
            gate = self.gate(path)
            weights[f"{path}.gate"] = self.macs.new_ones(0) if gate is None else gate
        for _, later in self.pairs():
            self.couple(later)
        if self.priced == "bops":
            bops = BopsPrice(self.price_of_bops())
            if poutine.get_mask() is False:
                bops = or_point(bops, self.macs.new_zeros(()))
            pyro.sample("bops", bops)
        return weights

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if not self._measured and not bool(self.macs.any()):
            self.measure(x)
        self._measured = True
        return super().forward(x, y)

    def output(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """The network's output at given weights and gates of ReLUs.

        ReLUs without gates among `weights` quantise as `relu_bits` say, on the steps that a file
        holds: their state at the guide's last `settle()`.
        """
        if self._shared is None:
            self._shared = self._find_shared(x)
        relus = gated(self.net, self.relus)
        try:
            for path, relu in relus.items():
                relu.quantiser = self._quantiser(path, weights.get(f"{path}.gate"))
            return super().output(x, {name: weights[name] for name in self.weight_names})
        finally:
            for relu in relus.values():
                relu.quantiser = None

    def _quantiser(self, path: str, gate: Tensor | None):
        if gate is not None:
            _, widths = self.split(path, gate)
            return lambda x: self.quantised(path, x, widths)
        width = int(self.relu_bits[list(self.relus).index(path)])
        step = stored_step(self.reach(path), width, signed=False)
        return lambda x: quantised_relu(x, step, width)

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Count each layer's MACs, and start each ReLU's range at its largest output on x.

        :param x: inputs, shape `(N, ...)`, of which the first `START` are taken.
        """
        weights = self.initial_weights()
        found = measured(self._original[0], weights, list(self.relus), x[:START])
        for path in self.relus:
            if self.ranges == "lsq":
                reach = lsq_range(found.mean[path], self.widths[0], signed=False)
            else:
                reach = found.largest[path]
            self.log_range[key(path)].copy_(reach.clamp(min=1e-3).log())
        self.macs.copy_(self.macs.new_tensor([found.macs.get(n, 0.0) for n in weights]))
        self._measured = True
