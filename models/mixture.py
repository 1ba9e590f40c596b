"""A learnable mixture of Gaussians that weights are drawn to, so that they come to share values."""

import math
from collections.abc import Iterable

import pyro
import torch
from pyro.distributions import Gamma
from torch import Tensor, nn

from ..distributions.gaussian_mixture import GaussianMixture
from ..distributions.parameters import state_parameters

PRECISION = "mixture.precision"  # the site of the components' precisions


class Mixture(nn.Module):
    """Means and proportions of a Gaussian mixture as point parameters (empirical Bayes).

    Component 0 has the fixed mean 0 and the fixed proportion `zero_proportion`; the others share
    the rest by a softmax. The precisions are the site `mixture.precision`, shape
    `(components,)`, with Gamma priors that keep components from collapsing onto single weights.

    :param weights: the tensors that the mixture is of; it starts from them (see `start_at`).
    :param components: how many, component 0 included.
    :param zero_proportion: of component 0.
    :param weight: tau, what multiplies all log densities of the mixture and its precisions
        (`poutine.scale`); a model tempers its mixture by it.
    :param span: the means start evenly over this many standard deviations of the weights on
        either side of 0; None: over the weights' range.
    :param zero_precision: shape and rate of the Gamma prior of component 0's precision; its mode
        is (shape - 1) / rate.
    :param precision: shape and rate of that of the others.
    :raises ValueError: for numbers out of bounds.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        components: int = 17,
        zero_proportion: float = 0.99,
        weight: float = 0.003,
        span: float | None = None,
        zero_precision: tuple[float, float] = (5e3, 2.0),
        precision: tuple[float, float] = (250.0, 0.1),
    ):
        super().__init__()
        if components < 2:
            raise ValueError(f"a mixture needs 2 components at least; got {components}")
        if not 0 < zero_proportion < 1:
            raise ValueError(f"zero_proportion must be within (0, 1); got {zero_proportion}")
        if not weight > 0:
            raise ValueError(f"weight, which multiplies the mixture, must be > 0; got {weight}")
        if min(*zero_precision, *precision) <= 0 or min(zero_precision[0], precision[0]) <= 1:
            raise ValueError("a Gamma prior needs a shape > 1, to have a mode, and a rate > 0")
        self.zero_proportion, self.weight, self.span = zero_proportion, weight, span
        self.zero_precision, self.precision = tuple(zero_precision), tuple(precision)
        tensors = list(weights)
        new = tensors[0].new_zeros
        # In units of the spacing they start at, so that an optimiser that moves every parameter at
        # one rate (Adam) moves means as little as weights.
        self.steps = nn.Parameter(new(components - 1))
        self.logits = nn.Parameter(new(components - 1))
        self.register_buffer("spacing", new(()))
        self.start_at(tensors)

    @torch.no_grad()
    def start_at(self, weights: Iterable[Tensor]) -> None:
        """Spread the means evenly over the weights, with equal proportions, in place."""
        values = torch.cat([w.detach().flatten() for w in weights])
        reach = values.abs().max() if self.span is None else self.span * values.std(correction=0)
        count = len(self.steps)
        below = count // 2
        steps = [*range(-below, 0), *range(1, count - below + 1)]
        self.steps.copy_(torch.tensor(steps))
        self.logits.zero_()
        self.spacing.copy_(reach.clamp(min=1e-8) / steps[-1])

    def locs(self) -> Tensor:
        """The means in units of the weights, shape `(components,)`, that of component 0 first."""
        return torch.cat([torch.zeros_like(self.steps[:1]), self.spacing * self.steps])

    def log_proportions(self) -> Tensor:
        """Log proportions, shape `(components,)`."""
        zero = torch.full_like(self.logits[:1], math.log(self.zero_proportion))
        others = torch.log_softmax(self.logits, 0) + math.log1p(-self.zero_proportion)
        return torch.cat([zero, others])

    def initial_precision(self) -> Tensor:
        """The modes of the precisions' priors, shape `(components,)`."""
        shape, rate = self._gamma()
        return (shape - 1) / rate

    def density(self, precision: Tensor) -> GaussianMixture:
        """The mixture at given precisions, shape `(components,)`."""
        return GaussianMixture(self.locs(), -0.5 * torch.log(precision), self.log_proportions())

    def forward(self) -> GaussianMixture:
        """The sample statement of the precisions; the mixture at what it gives."""
        state_parameters("mixture", self)
        return self.density(pyro.sample(PRECISION, Gamma(*self._gamma()).to_event(1)))

    def _gamma(self) -> tuple[Tensor, Tensor]:
        pairs = [self.zero_precision, *[self.precision] * len(self.steps)]
        shape, rate = zip(*pairs, strict=True)
        return self.steps.new_tensor(shape), self.steps.new_tensor(rate)
