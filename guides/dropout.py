"""Dropout as an approximate posterior (Gal and Ghahramani 2016)."""

import math
from collections.abc import Iterable
from statistics import NormalDist

import pyro
import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.nn import functional as F

from ..distributions.parameters import state_parameters
from ..posterior import Posterior, WeightPosterior
from .local_reparameterization import _TRANSPOSED, LazyWeight, _split
from .magnitude import relative_sizes
from .mean_field import PointMass
from .noise import standard_normal


class DroppedWeight(LazyWeight):
    """A draw of loc * b / (1 - p), b ~ Bernoulli(1 - p) for each entry of the weight's axis 1.

    `F.linear` and `F.conv*` multiply their inputs by masks of their own for each example, the same
    at all positions; any other operation sees one ordinary tensor, drawn once. In a convolution
    of several groups these share the mask, as they share the axis.

    :param loc: means, the weight's shape.
    :param p: the probability that an input is dropped, within (0, 1).
    """

    def __init__(self, loc: Tensor, p: float):
        super().__init__(loc, torch.zeros_like(loc))
        self._p = p

    def _sample(self) -> Tensor:
        rest = [1] * (self._loc.dim() - 2)
        return self._loc * self._mask(1).reshape(1, -1, *rest)

    def _mask(self, count: int) -> Tensor:
        """b / (1 - p), shape `(count, inputs)`."""
        # A normal below its quantile: the one source of noise that a captured step has.
        bound = NormalDist().inv_cdf(1 - self._p)
        noise = standard_normal(torch.Size((count, self._loc.shape[1])), self._loc)
        return (noise < bound).to(self._loc.dtype) / (1 - self._p)

    def _stays_lazy_in(self, func) -> bool:
        """Not in transposed convolutions, whose inputs lie along the first axis of the weight."""
        return func not in _TRANSPOSED and super()._stays_lazy_in(func)

    def _activations(self, func, args: tuple, kwargs: dict) -> Tensor:
        x, bias, rest = _split(args, kwargs)
        self._drawn_locally = True
        axis = x.dim() - 1 if func is F.linear else x.dim() - self._loc.dim() + 1
        count = x.shape[0] if axis else 1
        mask = self._mask(count).repeat(1, x.shape[axis] // self._loc.shape[1])
        shape = [1] * x.dim()
        shape[0], shape[axis] = count, x.shape[axis]
        return func(x * mask.reshape(shape), self._loc, bias, *rest[0], **rest[1])


class DroppedPoint(TorchDistribution):
    """The distribution of a `DroppedWeight`; a point at loc where p is 0.

    :param loc: means, at least two axes where p is not 0.
    :param p: the probability that an input (an entry of axis 1) is dropped.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, p: float):
        self.loc, self.p = loc, p
        super().__init__(loc.shape, validate_args=False)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape:
            raise NotImplementedError("a dropped weight is drawn one at a time")
        return DroppedWeight(self.loc, self.p) if self.p else self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        """0: the entropy does not depend on loc, and its constant is left out (see the KL)."""
        return self.loc.new_zeros(torch.broadcast_shapes(value.shape, self.loc.shape))


class BernoulliDropout(PointMass):
    """q(w): loc, each of whose inputs is dropped with probability p, the others over 1 - p.

    The masks are independent for each example. The prior's penalty acts on E w^2 = loc^2 / (1 - p).
    A weight with a single input, or without that axis, is not dropped.

    :param model: a model with a normal prior; loc starts at its network's weights.
    :param p: of all layers but the first, within [0, 1).
    :param first: of the first weight, whose inputs are the data.
    :raises ValueError: for a probability out of range.
    """

    def __init__(self, model: nn.Module, p: float = 0.3, first: float = 0.0):
        super().__init__(model)
        for name, value in (("p", p), ("first", first)):
            if not 0 <= value < 1:
                raise ValueError(f"{name}, a dropout probability, must be in [0, 1); got {value}")
        self.p, self.first = p, first

    def _rate(self, name: str) -> float:
        shape = self._get("loc", name).shape
        dropped = self.first if name == self._names[0] else self.p
        return dropped if len(shape) > 1 and shape[1] > 1 else 0.0

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {}
        for name in self._names:
            loc = self._get("loc", name)
            q = DroppedPoint(loc, self._rate(name))
            draws[name] = pyro.sample(name, q.to_event(loc.dim()))
        return draws

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of each weight's marginal, 0 or loc / (1 - p), by name; see `median`."""
        result = {}
        for name, loc in self.median().items():
            p, value = self._rate(name), loc / (1 - self._rate(name))
            levels = torch.as_tensor(list(quantiles), dtype=loc.dtype, device=loc.device)
            levels = levels.reshape(-1, *[1] * loc.dim())
            zero = torch.where(loc > 0, levels <= p, levels > 1 - p)
            result[name] = torch.where(zero, 0.0, value)
        return result

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The means loc, by name, at which one predicts; the median itself is 0 from p = 1/2 on."""
        return super().median()

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """loc, stddev = |loc| sqrt(p / (1 - p)); inclusion 1: no weight has its own rate.

        Var / E^2 = p / (1 - p) is the same for all weights of a layer and says nothing of which
        can go. log_alpha holds -2 log(|loc| / rms of the layer) instead: pruning by size.
        """
        weights, sizes = {}, relative_sizes(self.median(), per_layer=True)
        for name, loc in self.median().items():
            p = self._rate(name)
            stddev = loc.abs() * math.sqrt(p / (1 - p))
            log_alpha = -2 * sizes[name].log()
            weights[name] = WeightPosterior(loc.clone(), stddev, torch.ones(()), log_alpha)
        return Posterior(weights)


@register_kl(DroppedPoint, Normal)
def _kl_dropped_normal(q: DroppedPoint, p: Normal) -> Tensor:
    """The cross-entropy -E_q log p in nats; the entropy of a discrete q against a density is
    minus infinity, a constant that is left out."""
    square = q.loc.square() / (1 - q.p) - 2 * q.loc * p.loc + p.loc.square()
    return square / (2 * p.scale**2) + p.scale.log() + 0.5 * math.log(2 * math.pi)
