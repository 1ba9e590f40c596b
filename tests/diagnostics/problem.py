"""Bayesian linear regression with all answers known, for the diagnostics to be held against.

y ~ N(X w, 0.5^2), w ~ N(0, 0.8^2), 25 examples, 3 weights, float64. The posterior is normal.
"""

import functools
import math

import bitsback
import torch
from bitsback.models.likelihoods import normal
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import nn
from torch.distributions import MultivariateNormal, Normal

NOISE, PRIOR, N, D = 0.5, 0.8, 25, 3


class Regression:
    """Data, model, exact posterior, evidence and leave-one-out densities."""

    def __init__(self):
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(N, D, generator=generator, dtype=torch.float64)
        self.x[:, 1] += self.x[:, 0]
        truth = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
        noise = torch.randn(N, generator=generator, dtype=torch.float64)
        self.y = (self.x @ truth + NOISE * noise)[:, None]
        self.model = self.new_model()
        self.mean, self.covariance = posterior(self.x, self.y)
        marginal = PRIOR**2 * self.x @ self.x.T + NOISE**2 * torch.eye(N, dtype=torch.float64)
        evidence = MultivariateNormal(torch.zeros(N, dtype=torch.float64), marginal)
        self.log_evidence = evidence.log_prob(self.y[:, 0]).item()

    def new_model(self, **kwargs):
        net = nn.Linear(D, 1, bias=False).double()
        likelihood = functools.partial(normal, scale=NOISE)
        return bitsback.models.Gaussian(net, N, likelihood=likelihood, scale=PRIOR, **kwargs)

    def exact_guide(self):
        """The posterior itself."""
        guide = AutoMultivariateNormal(self.model)
        guide(self.x, self.y)
        factor = torch.linalg.cholesky(self.covariance)
        guide.loc.data.copy_(self.mean)
        guide.scale = factor.diagonal()
        guide.scale_tril = factor / factor.diagonal()[:, None]
        return guide

    def mean_field(self, widen: float = 1.0):
        """The best factorised normal, its standard deviations multiplied by `widen`."""
        guide = bitsback.guides.MeanFieldNormal(self.model)
        stddev = torch.linalg.inv(self.covariance).diagonal().rsqrt() * widen
        with torch.no_grad():
            guide.get_parameter("loc.weight").copy_(self.mean[None])
            guide.get_parameter("log_scale.weight").copy_(stddev.log()[None])
        return guide

    def leave_one_out(self):
        """log p(y_n | y_-n) by refitting N times, shape (N,)."""
        result = []
        for n in range(N):
            rest = torch.arange(N) != n
            mean, covariance = posterior(self.x[rest], self.y[rest])
            x = self.x[n]
            predictive = Normal(x @ mean, (x @ covariance @ x + NOISE**2).sqrt())
            result.append(predictive.log_prob(self.y[n, 0]))
        return torch.stack(result)

    def log_joint(self, w):
        """By hand, of draws of shape (S, 1, D)."""
        prior = Normal(0.0, PRIOR).log_prob(w).sum((1, 2))
        residual = (self.y[None, :, 0] - w[:, 0] @ self.x.T) / NOISE
        scale = N * (math.log(NOISE) + 0.5 * math.log(2 * math.pi))
        return prior - 0.5 * residual.square().sum(1) - scale


def posterior(x, y):
    precision = x.T @ x / NOISE**2 + torch.eye(D, dtype=torch.float64) / PRIOR**2
    covariance = torch.linalg.inv(precision)
    return covariance @ (x.T @ y)[:, 0] / NOISE**2, covariance
