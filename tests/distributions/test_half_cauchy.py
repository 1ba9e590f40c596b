"""Factors of the squared half-Cauchy: their product, and KLs against quadrature and draws."""

import math

import numpy as np
import pyro.distributions
import pytest
import torch
from bitsback.distributions import Gamma, InverseGamma
from torch.distributions import HalfCauchy, LogNormal, kl_divergence

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(80))
WEIGHTS = WEIGHTS / WEIGHTS.sum()
SIGMAS = 5  # of seeded draws: another seed fails with probability 6e-7 for each number compared

FAMILIES = {
    "Gamma": Gamma,
    "InverseGamma": InverseGamma,
    "Pyro's Gamma": pyro.distributions.Gamma,
    "Pyro's InverseGamma": pyro.distributions.InverseGamma,
}
POINTS = [(-2.0, 0.1), (0.0, 1.0), (0.7, 0.4), (-0.5, 1.5)]
SHAPES = [(0.5, 1.0), (0.5, 25.0), (2.0, 0.3), (1e-3, 1e-3)]


def tensor(value) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def by_quadrature(q: LogNormal, p) -> torch.Tensor:
    """E_q[log q - log p] over the nodes of log x."""
    x = torch.exp(q.loc + q.scale * NODES)
    return (WEIGHTS * (q.log_prob(x) - p.log_prob(x))).sum()


@pytest.mark.parametrize("shape, rate", SHAPES)
@pytest.mark.parametrize("loc, scale", POINTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_kl_is_the_integral(family, loc, scale, shape, rate):
    q, p = LogNormal(tensor(loc), tensor(scale)), FAMILIES[family](tensor(shape), tensor(rate))
    kl = kl_divergence(q, p)
    assert kl > 0
    torch.testing.assert_close(kl, by_quadrature(q, p), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("family", ["Gamma", "InverseGamma"])
def test_kl_is_the_mean_of_draws(family):
    q, p = LogNormal(tensor(-0.3), tensor(0.6)), FAMILIES[family](tensor(0.5), tensor(2.0))
    x = q.sample((100_000,))
    ratios = q.log_prob(x) - p.log_prob(x)
    error = ratios.mean() - kl_divergence(q, p)
    assert error.abs() < SIGMAS * ratios.std() / math.sqrt(len(x))


@pytest.mark.parametrize("family", ["Gamma", "InverseGamma"])
def test_gradients(family):
    def kl(loc, scale, shape, rate):
        return kl_divergence(LogNormal(loc, scale), FAMILIES[family](shape, rate))

    numbers = [tensor([v]).requires_grad_() for v in (0.4, 0.7, 0.5, 3.0)]
    assert torch.autograd.gradcheck(kl, numbers)


@pytest.mark.parametrize("tau0", [0.1, 1.0, 30.0])
def test_kls_of_the_horseshoe(tau0):
    """As written out for shape 1/2; with tau0 in place of tau0^2 the first is another number."""
    m, v = tensor(-1.2), tensor(0.3)
    q, scale = LogNormal(m, v.sqrt()), tensor(tau0**2)
    common = -0.5 * (1 + math.log(2) + v.log())
    gamma = (m + v / 2).exp() / scale + 0.5 * scale.log() - 0.5 * m + common
    inverse = (-m + v / 2).exp() + 0.5 * m + common
    one, half = tensor(1.0), tensor(0.5)
    torch.testing.assert_close(kl_divergence(q, Gamma(half, 1 / scale)), gamma)
    torch.testing.assert_close(kl_divergence(q, InverseGamma(half, one)), inverse)


@pytest.mark.parametrize("tau0", [1e-5, 1.0])
def test_the_product_of_the_factors_is_a_squared_half_cauchy(tau0):
    """Share of draws below each of 9 quantiles; 5 standard errors, so that another seed fails
    with probability 5e-6. A Gamma of scale tau0 would give C+(0, sqrt(tau0))."""
    count = 40_000
    half, one = tensor(0.5), tensor(1.0)
    a = Gamma(half, one / tau0**2).sample((count,))
    b = InverseGamma(half, one).sample((count,))
    s = (a * b).sqrt()
    levels = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    below = (s[:, None] < HalfCauchy(tensor(tau0)).icdf(levels)).double().mean(0)
    errors = (below - levels) / (levels * (1 - levels) / count).sqrt()
    assert errors.abs().max() < SIGMAS


def test_the_inverse_gamma_becomes_the_log_uniform():
    """p(z) of z^2 ~ InverseGamma(e, e) tends to be proportional to 1/z, and differences of KLs of
    log-normals to those from 1/z, -log(scale) + constant whatever the loc."""
    z = torch.logspace(-2, 2, 9, dtype=torch.float64)
    q = LogNormal(tensor([-3.0, 0.0, 2.0]), tensor([0.2, 1.0, 0.5]))
    slopes, gaps = [], []
    for small in (1e-2, 1e-4, 1e-6):
        p = InverseGamma(tensor(small), tensor(small))
        log_density = p.log_prob(z**2) + torch.log(2 * z)  # of z
        slopes.append((log_density + z.log()).diff().abs().max().item())
        excess = kl_divergence(q, p) + q.scale.log()
        gaps.append((excess - excess[0]).abs().max().item())
    for errors in (slopes, gaps):
        assert errors[1] < errors[0] / 50 and errors[2] < errors[1] / 50, errors
    assert slopes[2] < 0.02 and gaps[2] < 0.01
