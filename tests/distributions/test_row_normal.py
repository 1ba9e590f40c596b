"""The row-wise normal against torch's MultivariateNormal, which knows one row at a time."""

import math

import pytest
import torch
from bitsback.distributions import RowMultivariateNormal
from pyro.distributions import Laplace, Normal
from torch.distributions import MultivariateNormal, kl_divergence

SHAPES = {"linear": (3, 5), "conv": (2, 3, 2, 2), "bias": (4,)}


@pytest.fixture(params=SHAPES)
def q(request):
    shape = SHAPES[request.param]
    n = math.prod(shape[1:])
    parameters = (
        torch.randn(shape),
        0.5 * torch.randn(shape) - 1,
        torch.randn(shape[0], n, n),
    )
    return RowMultivariateNormal(*(p.double().requires_grad_() for p in parameters))


def rows(q):
    """The same distribution, as torch's: one `MultivariateNormal` for each row."""
    loc = q.loc.reshape(len(q.loc), -1)
    scale = torch.diag_embed(q.log_scale.reshape(loc.shape).exp())
    unit = torch.eye(loc.shape[1], dtype=loc.dtype) + q.lower.tril(-1)
    return MultivariateNormal(loc, scale_tril=scale @ unit)


def test_density_and_moments(q):
    value = torch.randn(7, *q.event_shape, dtype=torch.float64)
    exact = rows(q).log_prob(value.reshape(7, len(q.loc), -1)).sum(-1)
    torch.testing.assert_close(q.log_prob(value), exact)
    torch.testing.assert_close(q.log_prob(value[0]), exact[0])
    torch.testing.assert_close(q.variance, rows(q).variance.reshape(q.event_shape))
    assert q.mean is q.loc and q.log_prob(value[0]).shape == q.batch_shape == ()


def normals(q, scale):
    """N(0.3, scale^2) for each element."""
    return Normal(torch.full_like(q.loc, 0.3), scale).to_event(q.loc.dim())


def test_kl_and_its_gradient_are_those_of_torch(q):
    """With a scale of its own for each element of the prior."""
    scale = 0.5 + torch.rand(q.loc.shape, dtype=torch.float64)
    prior = scale.reshape(len(q.loc), -1)
    normal = MultivariateNormal(torch.full_like(prior, 0.3), scale_tril=torch.diag_embed(prior))
    exact = kl_divergence(rows(q), normal).sum()
    found = kl_divergence(q, normals(q, scale))
    torch.testing.assert_close(found, exact)
    parameters = (q.loc, q.log_scale, q.lower)
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters), torch.autograd.grad(exact, parameters)
    )


def test_kl_against_monte_carlo(q):
    """E_q[log q - log p] over 20,000 draws, to 5 of its standard errors."""
    p = normals(q, torch.ones((), dtype=torch.float64))
    with torch.no_grad():
        draws = q.rsample((20_000,))
        ratios = q.log_prob(draws) - p.log_prob(draws)
    error = ratios.std().item() / math.sqrt(len(ratios))
    exact = kl_divergence(q, p).item()
    assert error < 0.05 * exact and abs(ratios.mean().item() - exact) < 5 * error


def test_draws_have_the_covariance():
    torch.manual_seed(1)
    q = RowMultivariateNormal(torch.randn(2, 3), torch.randn(2, 3) / 3, torch.randn(2, 3, 3))
    draws = q.rsample((40_000,)).flatten(1)
    exact = torch.block_diag(*rows(q).covariance_matrix)
    spread = exact.diag().sqrt()
    # The variance of a covariance's estimate is (C_ii C_jj + C_ij^2) / n.
    error = ((spread[:, None] * spread).square() + exact.square()).sqrt() / math.sqrt(len(draws))
    assert ((torch.cov(draws.T) - exact).abs() / error).max() < 5


@pytest.mark.parametrize("prior", [Laplace, Normal])
def test_no_kl_to_another_prior(q, prior):
    """Nor to a normal whose events are rows: the sum of which would be another thing."""
    dims = q.loc.dim() if prior is Laplace else q.loc.dim() - 1
    p = prior(torch.zeros_like(q.loc), 1.0).to_event(dims)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, p)
