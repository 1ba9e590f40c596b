"""The quadrature that the bounds are held against."""

import importlib.util
import itertools
import math

import pytest
import torch
from bitsback import diagnostics
from torch.distributions import HalfCauchy

from ..project import ROOT


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("tau0_gap", ROOT / "benchmarks" / "tau0_gap.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")  # as for a script that lies there
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("tau0", [1e-2, 0.3, 10.0])
def test_evidence_of_prior_draws(benchmark, tau0):
    """The mean likelihood of scales from the prior, weights integrated out by hand."""
    problem = benchmark.Regression((0.5, 0.0))
    count = 50_000
    s = HalfCauchy(tau0).sample((count, 1)).double()
    scale = s * HalfCauchy(1.0).sample((count, 2)).double()
    total = torch.zeros(count, dtype=torch.float64)
    for group in range(2):
        y = problem.y[problem.x[:, group] == 1, 0]
        covariance = benchmark.NOISE**2 * torch.eye(len(y)) + scale[:, group, None, None] ** 2
        zeros = torch.zeros(len(y), dtype=torch.float64)
        total += torch.distributions.MultivariateNormal(zeros, covariance).log_prob(y)
    likelihood = total.exp()
    stderr = likelihood.std() / math.sqrt(count)
    gap = likelihood.mean() - math.exp(problem.log_evidence(tau0))
    assert gap.abs() < 5 * stderr


def test_without_weights_it_is_the_noise(benchmark):
    problem = benchmark.Regression((0.5, 0.0))
    noise = torch.distributions.Normal(0.0, benchmark.NOISE).log_prob(problem.y).sum().item()
    assert problem.log_evidence(1e-30) == pytest.approx(noise, abs=1e-6)


def test_bounds_of_the_horseshoe_are_below_the_quadrature_and_annealing_finds_it(benchmark):
    """Seeded; each within or below by four of its own standard errors."""
    torch.manual_seed(0)
    problem = benchmark.Regression((0.5, 0.0))
    truth = problem.log_evidence(0.3)
    model, guide = problem.train(0.3, None, steps=100)
    draws = diagnostics.draw(model, guide, problem.x, problem.y, 400, sites=())
    bounds = [
        diagnostics.elbo(draws, problem.kl(model, guide)),
        diagnostics.importance_bound(draws, 10),
        diagnostics.importance_bound(draws, 40),
    ]
    for lower, higher in itertools.pairwise(bounds):
        assert lower.value < higher.value < truth + 4 * higher.stderr
    assert 0.5 < truth - bounds[0].value < 3 and bounds[0].stderr < 0.2
    found = diagnostics.annealed(model, problem.x, problem.y, 60, 40, leapfrog=1)
    assert abs(found.value - truth) < 4 * found.stderr < 0.8
