"""A mixture of Gaussians over scalars, for as many values as a network has weights."""

import math
from collections.abc import Callable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .broadcast import with_batch

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
FLOOR = -60.0  # nats below the largest term of a sum, where a term is far below its rounding error
PIECE = 2**18  # values that are held against all components at a time


@torch.library.custom_op("bitsback::stored", mutates_args=())
def _stored(value: Tensor) -> Tensor:
    """A copy that a compiler cannot see through, or it computes `value` anew for each component."""
    return value.clone()


_stored.register_fake(torch.empty_like)
_stored.register_autograd(lambda ctx, grad: grad)


class _LogDensity(torch.autograd.Function):
    """In pieces of `PIECE` values: a compiler fuses one, and eagerly it bounds the memory.

    Eagerly a few arrays `(components, PIECE)` are made, 18 MB each for 17 components.
    """

    @staticmethod
    def forward(ctx, value: Tensor, locs: Tensor, log_scales: Tensor, log_proportions: Tensor):
        precisions, heights = torch.exp(-log_scales), log_proportions - log_scales
        pieces = [
            _log_sum(_exponents(piece, locs, precisions, heights)[1])
            for piece in value.reshape(-1).split(PIECE)
        ]
        result = torch.cat(pieces)
        ctx.save_for_backward(value, locs, log_scales, log_proportions, result)
        return (result - _LOG_ROOT_2PI).reshape(value.shape)

    @staticmethod
    def backward(ctx, grad: Tensor):
        *inputs, result = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more
            return _by_autograd(grad, *inputs)
        value, locs, log_scales, log_proportions = inputs
        precisions, heights = torch.exp(-log_scales), log_proportions - log_scales
        by_value, sums = [], torch.zeros(3, len(locs), dtype=value.dtype, device=value.device)
        flat = (tensor.reshape(-1).split(PIECE) for tensor in (value, grad, result))
        for piece, slope, total in zip(*flat, strict=True):
            standardised, exponents = _exponents(piece, locs, precisions, heights)
            responsibility = slope * _exp(exponents - total)
            pull = responsibility * standardised
            by_value.append(-(precisions[:, None] * pull).sum(0))
            moments = responsibility.sum(1), pull.sum(1), (pull * standardised).sum(1)
            sums = sums + torch.stack(moments)
        zeroth, first, second = sums.unbind()
        by_value = torch.cat(by_value).reshape(value.shape)
        return by_value, first * precisions, second - zeroth, zeroth


def _by_autograd(grad: Tensor, *inputs: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of `_LogDensity`, with a graph of their own; all components at a time."""
    value, locs, log_scales, log_proportions = inputs
    precisions, heights = torch.exp(-log_scales), log_proportions - log_scales
    total = _exponents(value.reshape(-1), locs, precisions, heights)[1].logsumexp(0)
    wanted = [t for t in inputs if t.requires_grad]
    found = iter(torch.autograd.grad(total, wanted, grad.reshape(-1), create_graph=True))
    return tuple(next(found) if t.requires_grad else None for t in inputs)


def _exponents(values: Tensor, locs: Tensor, precisions: Tensor, heights: Tensor):
    """Of each component for each of `values`, shape `(n,)`, both of shape `(K, n)`:

    (value - loc) / scale, and the log of the weighted density times sqrt(2 pi).
    """
    standardised = (values - locs[:, None]) * precisions[:, None]
    return standardised, heights[:, None] - 0.5 * torch.square(standardised)


def _exp(exponents: Tensor) -> Tensor:
    """exp of numbers up to 0; below e^FLOOR they count for nothing, and take 4 times as long."""
    return torch.exp(exponents.clamp(min=FLOOR))


def _log_sum(exponents: Tensor) -> Tensor:
    """logsumexp over the first axis."""
    largest = exponents.amax(0)
    return largest + torch.log(_exp(exponents - largest).sum(0))


class GaussianMixture(TorchDistribution):
    """p(w) = sum_k proportion_k N(w; loc_k, scale_k^2), independently for each element.

    Its divergence from a `Delta`, by Pyro's own rule, is minus the log density at the point:
    added to a loss, it attracts points to components.

    :param locs: means, shape `(K,)`.
    :param log_scales: log standard deviations, shape `(K,)`.
    :param log_proportions: shape `(K,)`; the proportions must sum to 1.
    :param shape: the batch shape.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real

    def __init__(
        self,
        locs: Tensor,
        log_scales: Tensor,
        log_proportions: Tensor,
        shape: torch.Size | tuple[int, ...] = (),
    ):
        self.locs, self.log_scales, self.log_proportions = locs, log_scales, log_proportions
        super().__init__(torch.Size(shape), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return GaussianMixture(self.locs, self.log_scales, self.log_proportions, batch_shape)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            proportions = self.log_proportions.exp()
            k = torch.multinomial(proportions, shape.numel(), replacement=True).reshape(shape)
            return self.locs[k] + self.log_scales[k].exp() * torch.randn_like(self.locs[k])

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, elementwise; see `_LogDensity` for the memory it takes."""
        parameters = (self.locs, self.log_scales, self.log_proportions)
        return with_batch(_LogDensity.apply(_stored(value), *parameters), self)

    @torch.no_grad()
    def codes(self, value: Tensor) -> Tensor:
        """The component most responsible for each value, proportions counted; int64."""
        return self._by_piece(value, lambda exponents: exponents.argmax(0))

    @torch.no_grad()
    def log_odds(self, value: Tensor) -> Tensor:
        """Log odds of component 0 against all others together, given each value; nats."""
        return self._by_piece(value, lambda e: e[0] - e[1:].logsumexp(0))

    def _by_piece(self, value: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """`rule` of the components' exponents, `(components, n)` to `(n,)`; shape of `value`."""
        precisions, heights = torch.exp(-self.log_scales), self.log_proportions - self.log_scales
        pieces = value.reshape(-1).split(PIECE)
        results = [rule(_exponents(piece, self.locs, precisions, heights)[1]) for piece in pieces]
        return torch.cat(results).reshape(value.shape)

    @torch.no_grad()
    def merged(self, tolerance: float) -> "GaussianMixture":
        """The mixture without components that say the same as another one.

        Two are merged while the smallest mean of KL(a || b) and KL(b || a) of any two is below
        `tolerance` [nats]. The merged component has the sum of their proportions and their joint
        mean and variance; but where one is component 0, the mean of that one, which is so kept.
        """
        locs, log_scales, log_proportions = (
            t.double().tolist() for t in (self.locs, self.log_scales, self.log_proportions)
        )
        parts = list(zip(locs, log_scales, log_proportions, strict=True))
        while len(parts) > 1:
            pairs = [(i, j) for j in range(len(parts)) for i in range(j)]
            i, j = min(pairs, key=lambda pair: _divergence(*(parts[at] for at in pair)))
            if _divergence(parts[i], parts[j]) >= tolerance:
                break
            parts[i] = _join(parts[i], parts.pop(j), keep_loc=i == 0)
        columns = (self.locs.new_tensor(column) for column in zip(*parts, strict=True))
        return GaussianMixture(*columns, self.batch_shape)


_Component = tuple[float, float, float]  # loc, log scale, log proportion


def _divergence(a: _Component, b: _Component) -> float:
    """The mean of the two KL divergences between normals, in nats."""
    ratio, squared = 2 * (a[1] - b[1]), (a[0] - b[0]) ** 2
    scaled = squared * (math.exp(-2 * a[1]) + math.exp(-2 * b[1]))
    return 0.25 * (math.expm1(ratio) + math.expm1(-ratio) + scaled)


def _join(a: _Component, b: _Component, keep_loc: bool) -> _Component:
    """One component with the proportion, mean and variance of two; or with the mean of `a`."""
    share = 1 / (1 + math.exp(b[2] - a[2]))
    loc = a[0] if keep_loc else share * a[0] + (1 - share) * b[0]
    second = share * (math.exp(2 * a[1]) + (a[0] - loc) ** 2)
    second += (1 - share) * (math.exp(2 * b[1]) + (b[0] - loc) ** 2)
    return loc, 0.5 * math.log(second), a[2] - math.log(share)
