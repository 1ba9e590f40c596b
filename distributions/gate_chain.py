"""Gates that open in a chain, and the prior that prices how far (van Baalen et al. 2020)."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import logsigmoid

from .handlers import ones_for_a_picture
from .hard_concrete import HardConcrete, Noise
from .no_gradient import no_gradient

_WHY = (
    "gates are 0 with positive probability and have a density elsewhere: use bitsback.ELBO or "
    "pyro.infer.TraceMeanField_ELBO, which take KL(GateChain || ChainPrior), and METHODS' guide"
)


def reached(gates: Tensor, independent: bool) -> Tensor:
    """Whether at least each width beyond the first is in use, shape of `gates`.

    In a chain a width is in use if its gate and those of all narrower ones are open; with
    independent gates the widest open one is. Differences of neighbours are each width's own share.

    :param gates: of widths; states 0 and 1, or probabilities of gates drawn independently.
    """
    if independent:
        return 1 - (1 - gates).flip(-1).cumprod(-1).flip(-1)
    return gates.cumprod(-1)


class GateChain(TorchDistribution):
    """Hard-concrete gates of one tensor: one for each unit, then one for each width but the first.

    A width's gate counts only if any unit's is open (without units: always) and those of all
    narrower widths are. The state of a tensor is which units are open and how many gates of widths
    are open in a row. Gates are drawn independently of one another; those behind a closed one make
    no difference.

    Or, `independent`: a width's gate counts whenever any unit's is open, whatever the other
    widths' do, and the state is which gates are open.

    :param log_alpha: see `HardConcrete`; event shape `(units + widths - 1,)`.
    :param units: how many of them are units'.
    :param noise: see `HardConcrete`.
    :param independent: whether gates of widths form no chain (default False).
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.independent(constraints.unit_interval, 1)
    has_rsample = True

    def __init__(
        self, log_alpha: Tensor, units: int, noise: Noise | None = None, independent: bool = False
    ):
        self.gates, self.units = HardConcrete(log_alpha, noise=noise), units
        self.independent = independent
        super().__init__(log_alpha.shape[:-1], log_alpha.shape[-1:], validate_args=False)

    def expand(self, batch_shape, _instance=None):
        log_alpha = self.gates.log_alpha.expand(*batch_shape, *self.event_shape)
        return GateChain(log_alpha, self.units, self.gates.noise, self.independent)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        return self.gates.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the state that `value` is in; its gradient raises."""
        return no_gradient(
            _log_state(value, self.gates.log_odds, self.units, self.independent), _WHY
        )


class ChainPrior(TorchDistribution):
    """A prior on the states of a `GateChain`: an autoregressive chain of Bernoulli events.

    Or, `independent`, Bernoulli events of which the widths' depend on the units' alone; products
    below are then of one gate, q_k.

    Two objectives have this name. With q_u the units' probabilities of being open under q (their
    mean is 1 where there are none) and q_k that of each width:

    - "published": unit_price mean(q_u) + mean(q_u) sum_k price_k prod_{j<=k} q_j. It follows from
      probabilities exp(-price) if entropies and the terms of closed gates are left out: no KL.
    - "exact": KL(q || p) with P(open) = sigmoid(-unit_price / units) for a unit, and
      sigmoid(-price_k) for a width given that it counts. Under the published exp(-price) the exact
      KL would hardly prune: at 0.1 nats a gate's is smallest where q = 0.905.

    :param unit_price: nats for all units together, scalar.
    :param prices: nats of each width beyond the first, shape `(widths - 1,)`.
    :param independent: as of the `GateChain` that it is for.
    :raises ValueError: for another objective.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.independent(constraints.unit_interval, 1)

    def __init__(
        self, unit_price: Tensor, prices: Tensor, units: int, objective: str = "published",
        independent: bool = False,
    ):  # fmt: skip
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}")
        self.unit_price, self.prices = unit_price, prices
        self.units, self.objective, self.independent = units, objective, independent
        super().__init__((), (units + len(prices),), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        if len(batch_shape):
            raise NotImplementedError("a prior of one tensor's gates has no batch")
        return self

    @property
    def log_odds(self) -> Tensor:
        """Log odds of each gate given that it counts, under the exact objective."""
        each = (self.unit_price / max(self.units, 1)).expand(self.units)
        return -torch.cat([each, self.prices])

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        why = (
            "this prior says which gates are open but not how far, so it cannot be sampled: use a "
            "guide that METHODS lists"
        )
        return ones_for_a_picture(self._extended_shape(sample_shape), why)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the state that `value` is in; its gradient raises."""
        return no_gradient(_log_state(value, self.log_odds, self.units, self.independent), _WHY)


OBJECTIVES = ("published", "exact")


def _log_state(value: Tensor, log_odds: Tensor, units: int, independent: bool) -> Tensor:
    open_ = value.abs() > 0
    each = torch.where(open_, logsigmoid(log_odds), logsigmoid(-log_odds))
    alive = open_[..., :units].any(-1, keepdim=True) | (units == 0)
    widths = each[..., units:]
    if independent:
        counts = alive.to(each.dtype).expand(widths.shape)
    else:
        counts = torch.cat([alive, open_[..., units:-1]], -1).to(each.dtype).cumprod(-1)
    return each[..., :units].sum(-1) + (counts[..., : widths.shape[-1]] * widths).sum(-1)


@register_kl(GateChain, ChainPrior)
def _kl_gate_chain_prior(q: GateChain, p: ChainPrior) -> Tensor:
    n, odds = q.units, q.gates.log_odds
    open_ = torch.sigmoid(odds)
    if q.independent != p.independent:
        raise ValueError("a chain and independent gates: q and p must be the same in this")
    chain = open_[n:] if q.independent else torch.cumprod(open_[n:], -1)
    if p.objective == "published":
        mean = open_[:n].mean() if n else 1.0
        return mean * (p.unit_price + (p.prices * chain).sum())
    events = open_ * (logsigmoid(odds) - logsigmoid(p.log_odds))
    events = events + (1 - open_) * (logsigmoid(-odds) - logsigmoid(-p.log_odds))
    alive = 1 - (1 - open_[:n]).prod() if n else torch.ones_like(open_[:1]).sum()
    before = torch.ones_like(chain) if q.independent else torch.cat([chain.new_ones(1), chain])
    counts = alive * before[: len(p.prices)]
    return events[:n].sum() + (counts * events[n:]).sum()
