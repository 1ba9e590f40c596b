"""The scale-mixture prior of Bayes by Backprop: a wide and a narrow normal, both about zero."""

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import softplus

from .broadcast import with_batch


class ScaleMixture(TorchDistribution):
    """p(w) = pi N(w; 0, sigma1^2) + (1 - pi) N(w; 0, sigma2^2), independently for each element.

    Source: Blundell et al. 2015, eq. 7. Its KL from a `Normal` has no closed form; the one
    registered is an unbiased Monte-Carlo estimate, new at each call (see `_kl_estimate`).

    :param pi: share of the wide component, within (0, 1).
    :param sigma1: standard deviation of the wide component.
    :param sigma2: of the narrow one; below `sigma1`.
    :param shape: the batch shape.
    :param like: a tensor whose dtype and device draws take; default: torch's own.
    :raises ValueError: for parameters out of these bounds.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real

    def __init__(
        self,
        pi: float,
        sigma1: float,
        sigma2: float,
        shape: torch.Size | tuple[int, ...] = (),
        like: Tensor | None = None,
    ):
        if not 0 < pi < 1:
            raise ValueError(f"pi, the wide component's share, must be within (0, 1); got {pi}")
        if not 0 < sigma2 < sigma1 < math.inf:
            raise ValueError(f"0 < sigma2 < sigma1 must hold; got sigma1={sigma1}, sigma2={sigma2}")
        self.pi, self.sigma1, self.sigma2 = pi, sigma1, sigma2
        self._like = torch.empty(()) if like is None else like
        super().__init__(torch.Size(shape), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return ScaleMixture(self.pi, self.sigma1, self.sigma2, batch_shape, self._like)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = self._extended_shape(sample_shape)
        wide = torch.rand(shape, dtype=self._like.dtype, device=self._like.device) < self.pi
        noise = torch.randn(shape, dtype=self._like.dtype, device=self._like.device)
        return torch.where(wide, self.sigma1 * noise, self.sigma2 * noise)

    def log_odds(self, value: Tensor) -> Tensor:
        """Log of the narrow component's weighted density over the wide one's, elementwise."""
        constant = math.log1p(-self.pi) - math.log(self.pi) + math.log(self.sigma1 / self.sigma2)
        return constant - 0.5 * (self.sigma2**-2 - self.sigma1**-2) * torch.square(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, elementwise; finite wherever value^2 / sigma1^2 is."""
        # log(a + b) = log a + log(1 + b / a), which no component's underflow can spoil.
        wide = -0.5 * torch.square(value) / self.sigma1**2
        constant = math.log(self.pi / self.sigma1) - 0.5 * math.log(2 * math.pi)
        return with_batch(wide + constant + softplus(self.log_odds(value)), self)


@register_kl(Normal, ScaleMixture)
def _kl_estimate(q: Normal, p: ScaleMixture) -> Tensor:
    """An unbiased Monte-Carlo estimate of KL(q || p) in nats, elementwise, new at each call.

    With p = pi p1 (1 + exp(log_odds)),

        KL(q || p) = KL(q || p1) - log(pi) - E_q[log(1 + exp(log_odds(w)))],

    whose first term is exact; the last is the mean over a draw and its mirror image about the
    mean. The draw comes from `q.rsample()` and is a new one. So its noise is independent of what
    a locally reparameterised layer has drawn from the same q, and the bound and its gradient,
    sums of two unbiased estimates, stay unbiased. Far from the narrow component the last term is
    0 and the estimate exact.
    """
    log_scale = getattr(q, "log_scale", None)
    log_scale = torch.log(q.scale) if log_scale is None else log_scale
    second_moment = torch.square(q.loc) + torch.square(q.scale)
    wide = 0.5 * (second_moment / p.sigma1**2 - 1) + math.log(p.sigma1) - log_scale
    draw = torch.clone(q.rsample())  # an ordinary tensor, also of a weight that is drawn late
    narrow = softplus(p.log_odds(draw)) + softplus(p.log_odds(2 * q.loc - draw))
    return wide - math.log(p.pi) - 0.5 * narrow
