"""Relaxed gates in [0, 1], and the prior that counts open ones (Louizos et al. 2018, L0)."""

import math
from collections.abc import Callable

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import logsigmoid

from .handlers import ones_for_a_picture
from .no_gradient import no_gradient

RELAXATIONS = ("hard-concrete", "concrete", "straight-through")
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1  # beta, gamma and zeta of the paper
_EDGE = 1e-6  # uniform noise is kept this far from 0 and 1, as published
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)

_WHY = (
    "a gate is 0 with positive probability and has a density elsewhere, so it has no log density "
    "to train on: use bitsback.ELBO or pyro.infer.TraceMeanField_ELBO, which take "
    "KL(HardConcrete || GatePrior), and a guide that METHODS lists"
)

Noise = Callable[[torch.Size, Tensor], Tensor]


class HardConcrete(TorchDistribution):
    """A gate z = clip(s (HIGH - LOW) + LOW, 0, 1), s = sigmoid((logit(u) + log_alpha) / beta).

    u is uniform on [0, 1]. The gate is 0 and 1 with positive probability and has a density between:
    no density describes it with respect to one measure, and `log_prob` is that of two events.

    :param log_alpha: location of each gate, any shape; its batch shape.
    :param relaxation: "hard-concrete" (default), as above. "concrete": z = s, never quite 0. Or
        "straight-through": z is Bernoulli(sigmoid(log_alpha)), with the gradient of s: biased,
        since the gradient of an expectation of the relaxed gate stands for that of the gate's.
    :param noise: where `rsample` draws standard normals from, called with a shape and a tensor of
        the dtype wanted; default torch's generator.
    :raises ValueError: for an unknown relaxation.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, log_alpha: Tensor, relaxation: str = "hard-concrete", noise: Noise | None = None
    ):
        if relaxation not in RELAXATIONS:
            raise ValueError(f"relaxation must be one of {', '.join(RELAXATIONS)}")
        self.log_alpha, self.relaxation, self.noise = log_alpha, relaxation, noise
        super().__init__(log_alpha.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        log_alpha = self.log_alpha.expand(torch.Size(batch_shape))
        return HardConcrete(log_alpha, self.relaxation, self.noise)

    @property
    def log_odds(self) -> Tensor:
        """log P(z > 0) - log P(z = 0); where no z is 0, of z > 1/2. Shape that of `log_alpha`."""
        if self.relaxation == "hard-concrete":
            return self.log_alpha - TEMPERATURE * math.log(-LOW / HIGH)
        return self.log_alpha

    @property
    def inclusion(self) -> Tensor:
        """P(z > 0), the probability that the gate is open (see `log_odds`)."""
        return torch.sigmoid(self.log_odds)

    def cdf(self, value: Tensor | float) -> Tensor:
        """P(z <= value) for 0 <= value < 1, of a gate that is not straight-through."""
        low, high = (LOW, HIGH) if self.relaxation == "hard-concrete" else (0.0, 1.0)
        s = (torch.as_tensor(value, dtype=self.log_alpha.dtype) - low) / (high - low)
        return torch.sigmoid(TEMPERATURE * torch.logit(s) - self.log_alpha)

    def _moment(self, power: int) -> Tensor:
        """E[z^power] = integral over (0, 1) of power x^(power - 1) P(z > x), by Gauss-Legendre."""
        if self.relaxation == "straight-through":
            return self.inclusion
        total = torch.zeros_like(self.log_alpha)
        for node, weight in zip((_NODES + 1) / 2, _WEIGHTS / 2, strict=True):
            factor = weight * power * node ** (power - 1)
            total = total + factor * (1 - self.cdf(float(node)))
        return total

    @property
    def mean(self) -> Tensor:
        """E[z], within 1e-6 for |log_alpha| < 10."""
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        return (self._moment(2) - self.mean.square()).clamp(min=0)

    @property
    def median(self) -> Tensor:
        """The gate at u = 1/2; 1 for log_alpha >= 1.53, 0 for log_alpha <= -1.53 (hard-concrete).

        The authors' test-time gate leaves out the division by beta, and so closes later.
        """
        return self.of_noise(torch.zeros_like(self.log_alpha))

    def of_noise(self, noise: Tensor) -> Tensor:
        """Gates from standard normals, shape `(*sample_shape, *batch_shape)`; u is their cdf."""
        log_u, log_rest = torch.special.log_ndtr(noise), torch.special.log_ndtr(-noise)
        edge = math.log(_EDGE)
        logit = log_u.clamp(min=edge) - log_rest.clamp(min=edge)
        s = torch.sigmoid((logit + self.log_alpha) / TEMPERATURE)
        if self.relaxation == "hard-concrete":
            return (s * (HIGH - LOW) + LOW).clamp(0, 1)
        if self.relaxation == "concrete":
            return s
        return (logit + self.log_alpha > 0).to(s.dtype) + (s - s.detach())

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = self._extended_shape(sample_shape)
        if self.noise is not None:
            return self.of_noise(self.noise(shape, self.log_alpha))
        like = self.log_alpha
        return self.of_noise(torch.randn(shape, dtype=like.dtype, device=like.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the event z = 0 or z > 0 that `value` is in; its gradient raises."""
        return _event(value, self.log_odds)


class GatePrior(TorchDistribution):
    """A prior on gates that says how probable it is that one is open, and nothing more.

    P(z > 0) = sigmoid(-cost). Where in (0, 1] an open gate lies is left to the approximate
    posterior: the prior's conditional distribution is set to q's (empirical Bayes), so that
    KL(q || p) is that of two Bernoulli events, with pi = q(z > 0):

        pi log(pi / p) + (1 - pi) log((1 - pi) / (1 - p)) = pi cost - log(1 - p) - entropy(pi).

    The published objective is its first term alone, `entropy=False` here: without the entropy it
    is no KL, and its minimum over pi is at 0 or 1.

    :param cost: log P(z = 0) - log P(z > 0) in nats, any shape: the price of an open gate.
    :param entropy: True for the KL, False (default) for the published first term.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.unit_interval

    def __init__(self, cost: Tensor, entropy: bool = False):
        self.cost, self.with_entropy = cost, entropy
        super().__init__(cost.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return GatePrior(self.cost.expand(torch.Size(batch_shape)), self.with_entropy)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        why = (
            "this prior says how often a gate is open but not how far, so it cannot be sampled: "
            "use a guide that METHODS lists"
        )
        return ones_for_a_picture(self._extended_shape(sample_shape), why)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the event z = 0 or z > 0 that `value` is in; its gradient raises."""
        return _event(value, -self.cost)


def _event(value: Tensor, log_odds: Tensor) -> Tensor:
    log_p = torch.where(torch.abs(value) > 0, logsigmoid(log_odds), logsigmoid(-log_odds))
    return no_gradient(log_p, _WHY)


@register_kl(HardConcrete, GatePrior)
def _kl_hard_concrete_gate_prior(q: HardConcrete, p: GatePrior) -> Tensor:
    price = q.inclusion * p.cost
    if not p.with_entropy:
        return price
    closed = torch.sigmoid(-q.log_odds)
    entropy = -(q.inclusion * logsigmoid(q.log_odds) + closed * logsigmoid(-q.log_odds))
    return price - logsigmoid(p.cost) - entropy
