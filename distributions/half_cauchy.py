"""The two factors of a squared half-Cauchy variable, and KL divergences from a log-normal.

If a ~ Gamma(1/2, scale c^2) and b ~ InverseGamma(1/2, scale 1), then sqrt(a b) ~ HalfCauchy(c),
as sqrt(a) is the modulus of N(0, c^2 / 2) and 1 / sqrt(b) that of N(0, 1/2). Unlike the half-Cauchy
itself, both factors have a closed-form KL from a log-normal.
"""

import math

import pyro.distributions
import torch
from torch import Tensor
from torch.distributions import LogNormal
from torch.distributions.kl import register_kl


class Gamma(pyro.distributions.Gamma):
    """Pyro's `Gamma(concentration, rate)`; `log_prob` also takes a guide's lazy scale."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(torch.clone(value))


class InverseGamma(pyro.distributions.InverseGamma):
    """Pyro's `InverseGamma(concentration, rate)`; `log_prob` also takes a guide's lazy scale.

    Its density is proportional to x^(-concentration - 1) exp(-rate / x): what Pyro calls its rate
    is a scale.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(torch.clone(value))


def _negative_entropy(q: LogNormal) -> Tensor:
    """Of log X, E_q[log q(log x)] in nats; of X it is less by E[log X]."""
    variance = q.scale.square()
    return -0.5 * (1 + math.log(2 * math.pi) + torch.log(variance))


@register_kl(LogNormal, torch.distributions.Gamma)
def _kl_log_normal_gamma(q: LogNormal, p: torch.distributions.Gamma) -> Tensor:
    """KL(q || p) in nats, elementwise; with log X ~ N(m, v) and E[X] = exp(m + v / 2) it is
    rate E[X] - concentration (m + log rate) + lgamma(concentration) - (1 + log 2 pi v) / 2."""
    shape = p.concentration
    mean = torch.exp(q.loc + q.scale.square() / 2)
    cross = p.rate * mean - shape * (q.loc + torch.log(p.rate)) + torch.lgamma(shape)
    return cross + _negative_entropy(q)


@register_kl(LogNormal, torch.distributions.InverseGamma)
def _kl_log_normal_inverse_gamma(q: LogNormal, p: torch.distributions.InverseGamma) -> Tensor:
    """KL(q || p) in nats, elementwise: that of 1/X from the Gamma of the same parameters."""
    shape = p.concentration
    mean = torch.exp(-q.loc + q.scale.square() / 2)
    cross = p.rate * mean + shape * (q.loc - torch.log(p.rate)) + torch.lgamma(shape)
    return cross + _negative_entropy(q)
