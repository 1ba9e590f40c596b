"""A prior over the integers of a quantised weight, and the rounding that is its guide.

Weights are step * level. A level's prior is a code: zero or not and the sign, then the magnitude,
each with probabilities of its own, so that -log p is what a coder with these probabilities charges.
`Lattice.price` is that number of nats, on the levels; straight lines lead from each level to the
next, and their slope is the gradient that a rounded level has.
"""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.kl import register_kl

from .broadcast import with_batch

_WHY = (
    "a lattice has a probability for each multiple of its step, and no density between them, which "
    "NUTS and continuous guides would need: use guides.Rounding for models.Rate"
)


class _Multiples(constraints.Constraint):
    """Multiples of a step: a discrete support, for which there is no density."""

    is_discrete = True

    def __init__(self, step: Tensor):
        self.step = step.detach()

    def check(self, value: Tensor) -> Tensor:
        level = value / self.step
        return (level - level.round()).abs() <= 1e-3 + 1e-5 * level.abs()


@biject_to.register(_Multiples)
@transform_to.register(_Multiples)
def _refuse(support: _Multiples):
    raise ValueError(_WHY)


class Lattice(TorchDistribution):
    """A distribution over step * k, k an integer: which side of zero, then how far from it.

    k is negative, zero or positive at `sides` nats; then the magnitude m = |k| costs magnitude[m]
    nats, m = 1..M, and each one beyond M costs magnitude[M] - magnitude[M - 1] more, a geometric
    tail. A probability distribution over all integers if exp(-sides) sums to 1, and
    exp(-magnitude[1:]), tail included, too.

    :param step: spacing, positive, scalar.
    :param sides: nats of k < 0, k = 0 and k > 0, shape (3, *batch shape).
    :param magnitude: nats of each magnitude, shape (M + 1,), M at least 2; entry 0 is unused.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return _Multiples(self.step)

    def __init__(self, step: Tensor, sides: Tensor, magnitude: Tensor):
        self.step, self.sides, self.magnitude = step, sides, magnitude
        super().__init__(sides.shape[1:], validate_args=False)

    def expand(self, batch_shape, _instance=None):
        shape, own = torch.Size(batch_shape), self.batch_shape
        sides = self.sides.reshape(3, *[1] * (len(shape) - len(own)), *own)
        return Lattice(self.step, sides.expand(3, *shape), self.magnitude)

    def price(self, level: Tensor) -> Tensor:
        """Nats of each level, shape that of `level`; linear between neighbouring integers.

        exp(-price) sums to 1 over the integers, and its integral over the reals is at most 1: on
        each unit interval it is a geometric interpolation, whose mean is at most that of the ends.
        So the price at a level with uniform noise, whose entropy is 0, bounds a code length too.
        """
        size = torch.abs(level)
        below = size.detach().floor().clamp(1, len(self.magnitude) - 2).long()
        rise = self.magnitude[1:] - self.magnitude[:-1]
        side = torch.where(level > 0, self.sides[2], self.sides[0])
        far = side + self.magnitude[below] + (size - below) * rise[below]
        near = (1 - size) * self.sides[1] + size * (side + self.magnitude[1])
        return torch.where(size < 1, near, far)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the price of value / step, nats.

        :raises ValueError: for values between the steps, which have no probability.
        """
        if not self.support.check(value.detach()).all():
            raise ValueError(_WHY)
        return -self.price(value / self.step)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = self._extended_shape(sample_shape)
        like = self.sides[1]
        which, u = torch.rand(2, *shape, dtype=like.dtype, device=like.device)
        known = torch.exp(-self.magnitude[1:]).cumsum(0)
        size = 1.0 + torch.searchsorted(known, u.contiguous(), right=True).to(like.dtype)
        # Beyond the table: what is left of u says how far, since the tail has no memory.
        left = ((1 - u) / (1 - known[-1]).clamp(min=1e-12)).clamp(1e-12, 1)
        slope = self.magnitude[-1] - self.magnitude[-2]
        size = torch.where(size > len(known), len(known) + 1 - (left.log() / slope).ceil(), size)
        negative, zero, _ = torch.exp(-self.sides)
        level = torch.where(which < negative, -size, size)
        return self.step * level * ((which < negative) | (which >= negative + zero))


class Rounded(TorchDistribution):
    """A point: step * round(level), with gradients as if nothing had been rounded.

    The gradient for the step is (round(level) - level) times the value's, plus what `level` passes
    on: with level = w / step that of learned step sizes (Esser et al. 2020). Its log density is 0.

    :param level: in units of the step, any shape; the batch shape.
    :param step: spacing, positive, scalar.
    :param dither: noise uniform on (-1/2, 1/2), the level's shape, that is added to the level in
        the KL, and there alone, in place of its rounding; None (default): none.
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

    @property
    def mean(self) -> Tensor:
        return self.step * (self.level + (self.level.round() - self.level).detach())

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.level)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        return self.mean.expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return with_batch(torch.zeros_like(value), self)


@register_kl(Rounded, Lattice)
def _kl_rounded_lattice(q: Rounded, p: Lattice) -> Tensor:
    """The price of the rounded level, with the slope where `level` is as its gradient.

    With dither the price of the level with its noise: of that on the lines between integers.
    """
    if q.dither is not None:
        return p.price(q.level + q.dither)
    line = p.price(q.level)
    return line + (p.price(q.level.detach().round()) - line).detach()
