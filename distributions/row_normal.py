"""Normals whose elements are correlated within rows of a tensor, and independent across rows."""

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Normal, constraints
from torch.distributions.kl import register_kl


class RowMultivariateNormal(TorchDistribution):
    """prod over rows r of N(loc_r, L_r L_r^T), L_r = diag(exp(log_scale_r)) (1 + lower_r).

    A row is all that stands under one index of the first axis, in order: n elements. Pyro's
    `AutoMultivariateNormal` writes its factor the same way.

    :param loc: means, shape `(rows, ...)`, which is the event shape.
    :param log_scale: logarithms of the factors' diagonals, the same shape. exp(log_scale) is the
        standard deviation of an element given those before it in its row.
    :param lower: shape `(rows, n, n)`, of which what is below the diagonal counts.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor, lower: Tensor):
        self.loc, self.log_scale, self.lower = loc, log_scale, lower
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        super().__init__(event_shape=loc.shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self):
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def factor(self) -> Tensor:
        """L, lower-triangular, shape `(rows, n, n)`."""
        return row_factor(self.log_scale, self.lower)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The marginal variances, shape of `loc`."""
        return self.factor.square().sum(-1).reshape(self.loc.shape)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = (*sample_shape, *self.loc.shape)
        return self.at(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def at(self, noise: Tensor) -> Tensor:
        """loc + L noise, for noise of the shape `(..., *event_shape)`."""
        rows = noise.reshape(*noise.shape[: noise.dim() - self.loc.dim()], *self.lower.shape[:2])
        return self.loc + (self.factor @ rows[..., None]).reshape(noise.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, shape `value.shape` without the event's."""
        difference = value - self.loc
        batch = difference.shape[: difference.dim() - self.loc.dim()]
        rows = difference.reshape(*batch, *self.lower.shape[:2], 1)
        noise = torch.linalg.solve_triangular(self.factor, rows, upper=False)
        constant = self.log_scale.sum() + 0.5 * self.loc.numel() * math.log(2 * math.pi)
        return -0.5 * noise.square().sum((-3, -2, -1)) - constant


def row_factor(log_scale: Tensor, lower: Tensor) -> Tensor:
    """L = diag(exp(log_scale)) (1 + lower), shape `(rows, n, n)`."""
    one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    scale = torch.exp(log_scale).reshape(lower.shape[:2])
    return scale[..., None] * (torch.tril(lower, -1) + one)


@register_kl(RowMultivariateNormal, Independent)
def _kl_normal(q: RowMultivariateNormal, p: Independent) -> Tensor:
    """KL(q || p) in nats, a scalar, to independent normals N(m, s^2) of the same event shape:

        sum [log(s / exp(log_scale)) + (variance + (loc - m)^2) / (2 s^2) - 1/2],

    as log det L is the sum of log_scale. With marginal variances this is the KL of the factorised
    normal, but for log_scale, which is below the logarithm of the marginal standard deviation.
    """
    normal = p.base_dist
    if not isinstance(normal, Normal) or p.batch_shape or p.event_shape != q.event_shape:
        raise NotImplementedError
    second_moment = q.variance + torch.square(q.loc - normal.loc)
    ratio = second_moment / torch.square(normal.scale)
    return (torch.log(normal.scale) - q.log_scale + 0.5 * (ratio - 1)).sum()
