"""A prior over the integers of a quantised weight, and the rounding that is its guide.

Weights are step * level. A level's prior is a code: zero or not, then the sign, then the magnitude,
each decision with a probability of its own, so that -log p is what a coder with these probabilities
charges. `Lattice.price` is that number of nats, on the levels; straight lines lead from each level
to the next, and their slope is the gradient that a rounded level has.
"""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import softplus


class Lattice(TorchDistribution):
    """A distribution over step * k, k an integer, by three decisions.

    P(k != 0) = sigmoid(log_odds); given that, P(k > 0) = exp(-sign[1]) and P(k < 0) = exp(-sign[0]);
    then the magnitude m = |k| costs magnitude[m] nats, m = 1..M, and each one beyond M costs
    magnitude[M] - magnitude[M - 1] more, a geometric tail. A probability distribution over all
    integers if exp(-sign) sums to 1, and exp(-magnitude[1:]), tail included, too.

    :param step: spacing, positive, scalar.
    :param log_odds: log P(k != 0) - log P(k = 0), any shape; the batch shape.
    :param sign: nats of a negative and of a positive sign, shape (2,).
    :param magnitude: nats of each magnitude, shape (M + 1,), M at least 2; entry 0 is 0 and unused.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real

    def __init__(self, step: Tensor, log_odds: Tensor, sign: Tensor, magnitude: Tensor):
        self.step, self.log_odds, self.sign, self.magnitude = step, log_odds, sign, magnitude
        super().__init__(log_odds.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        log_odds = self.log_odds.expand(torch.Size(batch_shape))
        return Lattice(self.step, log_odds, self.sign, self.magnitude)

    def price(self, level: Tensor) -> Tensor:
        """Nats of each level, shape that of `level`; linear between neighbouring integers.

        exp(-price) sums to 1 over the integers, and its integral over the reals is at most 1: on
        each unit interval it is a geometric interpolation, whose mean is at most that of the ends.
        """
        size = torch.abs(level)
        below = size.detach().floor().clamp(1, len(self.magnitude) - 2).long()
        beyond = self.magnitude[1:] - self.magnitude[:-1]
        magnitude = self.magnitude[below] + (size - below) * beyond[below]
        sign = torch.where(level > 0, self.sign[1], self.sign[0])
        there = softplus(-self.log_odds) + sign
        share = size.clamp(max=1)  # of the way from level 0 to a level of magnitude 1
        near = (1 - share) * softplus(self.log_odds) + share * (there + self.magnitude[1])
        return torch.where(size < 1, near, there + magnitude)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the price of value / step, nats."""
        return -self.price(value / self.step)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = self._extended_shape(sample_shape)
        like = self.log_odds
        there, positive, u = torch.rand(3, *shape, dtype=like.dtype, device=like.device)
        cumulative = torch.exp(-self.magnitude[1:]).cumsum(0)
        size = 1 + torch.searchsorted(cumulative, u.contiguous(), right=True)
        # Beyond the table, memoryless: as often again as an exponential of the tail's slope says.
        slope = self.magnitude[-1] - self.magnitude[-2]
        rest = (1 - u) / (1 - cumulative[-1]).clamp(min=1e-12)
        tail = len(cumulative) + 1 + torch.floor(-torch.log(rest.clamp(1e-12, 1)) / slope)
        size = torch.where(size > len(cumulative), tail, size.to(like.dtype))
        signed = torch.where(positive < torch.exp(-self.sign[1]), size, -size)
        return self.step * torch.where(there < torch.sigmoid(like), signed, torch.zeros_like(size))


class Rounded(TorchDistribution):
    """A point: step * round(level), with gradients as if nothing had been rounded.

    The gradient for the step is (round(level) - level) times the value's, plus what `level` passes
    on: with level = w / step that of learned step sizes (Esser et al. 2020). Its log density is 0.

    :param level: in units of the step, any shape; the batch shape.
    :param step: spacing, positive, scalar.
    :param dither: noise that is added to the level instead of rounding it, uniform on
        (-1/2, 1/2), the level's shape; None (default): rounding. Then this is a draw of a density
        whose entropy is 0 nats, given as a point.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real
    has_rsample = True

    def __init__(self, level: Tensor, step: Tensor, dither: Tensor | None = None):
        self.level, self.step, self.dither = level, step, dither
        super().__init__(level.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape)
        dither = None if self.dither is None else self.dither.expand(shape)
        return Rounded(self.level.expand(shape), self.step, dither)

    def reached(self) -> Tensor:
        """The level that the weight takes: an integer, or the level with its dither."""
        if self.dither is not None:
            return self.level + self.dither
        return self.level + (self.level.round() - self.level).detach()

    @property
    def mean(self) -> Tensor:
        return self.step * self.reached()

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.level)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        return self.mean.expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value)


@register_kl(Rounded, Lattice)
def _kl_rounded_lattice(q: Rounded, p: Lattice) -> Tensor:
    """The price of the level reached; with rounding its gradient is the slope where `level` is."""
    if q.dither is not None:
        return p.price(q.reached())
    line = p.price(q.level)
    return line + (p.price(q.level.detach().round()) - line).detach()
