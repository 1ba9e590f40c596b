"""The log-uniform prior of sparse variational dropout, p(w) proportional to 1/|w|."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints
from torch.distributions.kl import register_kl

from .broadcast import with_batch
from .handlers import ones_for_a_picture
from .log_uniform_kl import exact_kl, molchanov_kl
from .no_gradient import no_gradient

_WHY = (
    "the log-uniform prior p(w) = 1/|w| is improper: it cannot be sampled, the exact posterior "
    "need not exist, and the pathwise Monte-Carlo gradient of log p(w) has infinite variance. "
    "Use a guide that METHODS lists for this model (guides.MeanFieldNormal for models.LogUniform) "
    "with bitsback.ELBO or pyro.infer.TraceMeanField_ELBO, or take a model with a proper prior "
    "(models.Gaussian) for autoguides, NUTS and Trace_ELBO"
)


class LogUniform(TorchDistribution):
    """The improper density p(w) = 1/|w| on the real line, unnormalised (constant 1).

    Its KL divergence from a `Normal` is registered in closed form. `sample` raises, and so does
    the gradient of `log_prob`: only a closed-form KL can train against this prior.

    :param shape: the batch shape.
    :param kl: "exact" (default), or "molchanov" for the published approximation.
    :raises ValueError: for any other `kl`.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real
    has_rsample = True

    def __init__(self, shape: torch.Size | tuple[int, ...] = (), kl: str = "exact"):
        if kl not in _KL:
            raise ValueError(f"kl must be one of {', '.join(_KL)}; got {kl!r}")
        self.kl = kl
        super().__init__(torch.Size(shape), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return LogUniform(torch.Size(batch_shape), kl=self.kl)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        return ones_for_a_picture(self._extended_shape(sample_shape), _WHY)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log|value|, elementwise, up to the constant that no improper density has."""
        log_p = with_batch(-torch.log(torch.abs(value)), self)
        return no_gradient(log_p, f"gradient of log p(w): {_WHY}")


_KL = {"exact": exact_kl, "molchanov": molchanov_kl}


@register_kl(Normal, LogUniform)
def _kl_normal_log_uniform(q: Normal, p: LogUniform) -> Tensor:
    log_scale = getattr(q, "log_scale", None)
    return _KL[p.kl](q.loc, torch.log(q.scale) if log_scale is None else log_scale)
