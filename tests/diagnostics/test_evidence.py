"""All estimates of the evidence against its exact value, on conjugate linear regression."""

import itertools
import math

import bitsback
import pyro
import pyro.distributions as dist
import pytest
import torch
from bitsback.diagnostics import annealed, draw, elbo, importance_bound, laplace, psis_evidence
from torch import nn
from torch.distributions import Normal, kl_divergence

from .problem import D, N, Regression


@pytest.fixture(scope="module")
def problem():
    torch.manual_seed(0)
    return Regression()


@pytest.fixture(scope="module")
def draws(problem):
    """Of a guide a little too wide, whose ratios are bounded."""
    torch.manual_seed(0)
    return draw(problem.model, problem.mean_field(widen=1.8), problem.x, problem.y, 2000)


def gap(problem, widen):
    """KL(q || posterior), by which the ELBO is below the evidence."""
    stddev = torch.linalg.inv(problem.covariance).diagonal().rsqrt() * widen
    q = torch.distributions.MultivariateNormal(problem.mean, torch.diag(stddev**2))
    p = torch.distributions.MultivariateNormal(problem.mean, problem.covariance)
    return kl_divergence(q, p).item()


def test_elbo_is_below_by_the_kl(problem, draws):
    found = elbo(draws)
    expected = problem.log_evidence - gap(problem, 1.8)
    assert gap(problem, 1.8) > 1
    assert abs(found.value - expected) < 4 * found.stderr < 0.4
    assert found.direction == "lower bound"


def test_importance_bound_rises_to_the_truth(problem, draws):
    found = [importance_bound(draws, k) for k in (1, 5, 50, 400)]
    assert found[0].value == pytest.approx(elbo(draws).value)
    for lower, higher in itertools.pairwise(found):
        assert lower.value < higher.value
    for bound in found:
        assert bound.value < problem.log_evidence + 4 * bound.stderr
    assert abs(found[-1].value - problem.log_evidence) < 4 * found[-1].stderr < 0.5
    assert "K=400" in found[-1].name


def test_psis_finds_it(problem, draws):
    found = psis_evidence(draws)
    assert abs(found.value - problem.log_evidence) < 4 * found.stderr < 0.2
    assert found.direction == "estimate" and "can be corrected" in found.note


def test_psis_warns_where_it_cannot(problem):
    narrow = draw(problem.model, problem.mean_field(widen=0.2), problem.x, problem.y, 500)
    assert "can be corrected" not in psis_evidence(narrow).note


def test_exact_guide_has_no_error(problem):
    draws = draw(problem.model, problem.exact_guide(), problem.x, problem.y, 20)
    for found in (elbo(draws), importance_bound(draws, 5), psis_evidence(draws)):
        assert found.value == pytest.approx(problem.log_evidence, abs=1e-9)
        assert found.stderr < 1e-9


def test_laplace_is_exact_for_a_normal_posterior(problem):
    found = laplace(problem.model, problem.x, problem.y)
    assert found.value == pytest.approx(problem.log_evidence, abs=1e-8)
    start = {"weight": torch.full((1, D), 5.0, dtype=torch.float64)}
    again = laplace(problem.model, problem.x, problem.y, start=start)
    assert again.value == pytest.approx(problem.log_evidence, abs=1e-8)


def test_laplace_wants_a_maximum():
    """A product of two weights and labels far off: 0 is a saddle, where the climb cannot leave."""
    x, y = torch.ones(4, 1, dtype=torch.float64), torch.full((4, 1), 5.0, dtype=torch.float64)
    layers = [nn.Linear(1, 1, bias=False).double() for _ in range(2)]
    model = bitsback.models.Gaussian(nn.Sequential(*layers), 4, likelihood="normal", scale=1.0)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="not positive definite"):
        laplace(model, x, y, start={"0.weight": zero, "1.weight": zero})
    start = {"0.weight": zero + 2, "1.weight": zero + 2}
    grid = torch.linspace(-8, 8, 801, dtype=torch.float64)
    log_joint = Normal(0.0, 1.0).log_prob(grid)[:, None] + Normal(0.0, 1.0).log_prob(grid)
    log_joint = log_joint + 4 * Normal(5.0, 1.0).log_prob(grid[:, None] * grid)
    truth = torch.logsumexp(log_joint.flatten(), 0).item() + 2 * math.log(16 / 800)
    # Two modes of equal mass, of which it knows one.
    found = laplace(model, x, y, start=start).value
    assert found + math.log(2) == pytest.approx(truth, abs=0.3)


def test_laplace_says_where_it_stopped_short():
    from bitsback.diagnostics.laplace import _log_det

    hessian, slope = torch.diag(torch.tensor([2.0, 8.0]).double()), torch.tensor([0.0, 4.0])
    with pytest.raises(ValueError, match="1 nats below"):
        _log_det(hessian, slope.double())
    assert _log_det(hessian, 0 * slope.double()) == pytest.approx(math.log(16))


def test_annealing_finds_it(problem):
    """Seeded; the standard error is that of 100 chains."""
    found = annealed(problem.model, problem.x, problem.y, temperatures=100, leapfrog=2)
    assert abs(found.value - problem.log_evidence) < 4 * found.stderr < 0.8
    assert 0.6 < float(found.note.split()[1].rstrip(";")) < 0.99


def test_annealing_without_steps_is_importance_sampling_from_the_prior(problem):
    """One temperature: the weights are the likelihoods of prior draws. log p(y) from 1-D data."""
    x, y = problem.x[:1], problem.y[:1]
    net = nn.Linear(D, 1, bias=False).double()
    model = bitsback.models.Gaussian(net, 1, likelihood="normal", scale=0.8)
    found = annealed(model, x, y, chains=2000, temperatures=1, leapfrog=1)
    exact = Normal(0.0, (0.64 * x.square().sum() + 1).sqrt()).log_prob(y).item()
    assert abs(found.value - exact) < 4 * found.stderr < 0.2


class Scaled(bitsback.models.Gaussian):
    """weight = scale * base with a log-normal scale: a constrained site, no conjugacy."""

    def weight(self, name, initial):
        scale = pyro.sample(f"{name}.scale", dist.LogNormal(initial.new_zeros(()), 0.5))
        base = pyro.sample(f"{name}.base", dist.Normal(torch.zeros_like(initial), 1.0).to_event(2))
        return pyro.deterministic(name, scale * base)


def test_hierarchical_evidence_by_quadrature():
    """The weights integrate out in closed form given the scale; the scale by quadrature."""
    problem = Regression()
    net = nn.Linear(D, 1, bias=False).double()
    model = Scaled(net, N, likelihood="normal")
    log_scale = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    covariance = log_scale.mul(2).exp()[:, None, None] * problem.x @ problem.x.T
    covariance = covariance + torch.eye(N, dtype=torch.float64)
    zeros = torch.zeros(N, dtype=torch.float64)
    given = torch.distributions.MultivariateNormal(zeros, covariance).log_prob(problem.y[:, 0])
    log_density = Normal(0.0, 0.5).log_prob(log_scale) + given
    truth = (torch.logsumexp(log_density, 0) + math.log(6 / 2000)).item()
    found = annealed(model, problem.x, problem.y, chains=100, temperatures=80, leapfrog=2)
    assert abs(found.value - truth) < 4 * found.stderr < 0.8
    start = {
        "weight.scale": torch.ones((), dtype=torch.float64),
        "weight.base": problem.mean[None],
    }
    near = laplace(model, problem.x, problem.y, start=start).value
    assert 0.1 < abs(near - truth) < 1  # no normal posterior: it is an approximation
    with pytest.raises(ValueError, match=r"no value of the site 'weight\.scale'"):
        laplace(model, problem.x, problem.y)


def test_improper_priors_have_no_evidence(problem):
    x, y = problem.x, problem.y
    model = bitsback.models.LogUniform(nn.Linear(D, 1).double(), N, likelihood="normal")
    draws = draw(model, bitsback.guides.MeanFieldNormal(model), x, y, 20)
    for estimate in (elbo, psis_evidence, lambda d: importance_bound(d, 2)):
        with pytest.raises(ValueError, match="improper prior: its density has an arbitrary"):
            estimate(draws)
    for estimate in (laplace, annealed):
        with pytest.raises(ValueError, match="improper"):
            estimate(model, x, y)


def test_refusals(problem, draws):
    with pytest.raises(ValueError, match="two groups"):
        importance_bound(draws, 1001)
    for estimate in (laplace, annealed):
        with pytest.raises(ValueError, match="num_data is 25"):
            estimate(problem.model, problem.x[1:], problem.y[1:])
    wide = bitsback.models.Gaussian(nn.Linear(3000, 1, bias=False), 2, likelihood="normal")
    with pytest.raises(ValueError, match="3000 latent values"):
        laplace(wide, torch.zeros(2, 3000), torch.zeros(2, 1))
