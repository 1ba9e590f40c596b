"""Importance weights and locally reparameterised weights, against the exact evidence."""

import functools
import math

import bitsback
import pyro
import pytest
import torch
from bitsback.models.likelihoods import normal
from pyro import poutine
from pyro.infer import (
    SVI,
    Importance,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
)
from torch import nn
from torch.distributions import MultivariateNormal

NOISE, PRIOR, N, D = 0.5, 0.8, 25, 3

GUIDES = {
    "MeanFieldNormal": bitsback.guides.MeanFieldNormal,
    "RowNormal": bitsback.guides.RowNormal,
}


@pytest.fixture
def problem():
    """y ~ N(X w, 0.5^2), w ~ N(0, 0.8^2): x, y, model, log evidence, mean and stddev of q."""
    x = torch.randn(N, D, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-0.5], [0.25]], dtype=torch.float64)
    y = y + NOISE * torch.randn(N, 1, dtype=torch.float64)
    net = nn.Linear(D, 1, bias=False).double()
    likelihood = functools.partial(normal, scale=NOISE)
    model = bitsback.models.Gaussian(net, N, likelihood=likelihood, scale=PRIOR)
    covariance = PRIOR**2 * x @ x.T + NOISE**2 * torch.eye(N, dtype=torch.float64)
    marginal = MultivariateNormal(torch.zeros(N, dtype=torch.float64), covariance)
    precision = x.T @ x / NOISE**2 + torch.eye(D, dtype=torch.float64) / PRIOR**2
    mean = torch.linalg.solve(precision, x.T @ y / NOISE**2)
    return (
        x,
        y,
        model,
        marginal.log_prob(y[:, 0]).item(),
        mean.T,
        precision.diagonal().rsqrt()[None],
    )


def fitted(kind, problem, **options):
    """A guide at the best factorised normal."""
    _, _, model, _, mean, stddev = problem
    guide = GUIDES[kind](model, **options)
    with torch.no_grad():
        guide.get_parameter("loc.weight").copy_(mean)
        guide.get_parameter("log_scale.weight").copy_(stddev.log())
    return guide


def by_hand(model, guide, x, y):
    """One log importance weight, as one would write it."""
    drawn = poutine.trace(guide).get_trace(x, y)
    scored = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(x, y)
    return scored.log_prob_sum() - drawn.log_prob_sum()


def importance(model, guide, x, y):
    return Importance(model, guide, 40).run(x, y).get_log_normalizer()


def objective(loss):
    return lambda model, guide, x, y: -torch.tensor(loss().loss(model, guide, x, y))


def quiet(loss):
    """Without the warning that nothing is enumerated."""
    return functools.partial(loss, strict_enumeration_warning=False)


WEIGHTED = {
    "RenyiELBO": objective(lambda: RenyiELBO(alpha=0.0, num_particles=40)),
    "TraceTMC_ELBO": objective(quiet(TraceTMC_ELBO)),
    "Importance": importance,
    "by hand": lambda *pair: (
        torch.stack([by_hand(*pair) for _ in range(40)]).logsumexp(0) - math.log(40)
    ),
}


@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("name", WEIGHTED)
def test_no_importance_weighted_estimate_is_above_the_evidence(name, kind, problem):
    x, y, model, evidence, *_ = problem
    estimate = WEIGHTED[name]
    with pytest.raises(RuntimeError, match="local_reparameterization=False"):
        estimate(model, fitted(kind, problem), x, y)
    guide = fitted(kind, problem, local_reparameterization=False)
    found = torch.stack([estimate(model, guide, x, y).detach() for _ in range(5)])
    error = found.std() / math.sqrt(len(found)) if len(found.unique()) > 1 else 0.0
    assert found.mean() <= evidence + 3 * error


TRAINED_ON = {
    "RenyiELBO": lambda: RenyiELBO(alpha=0.5, num_particles=2),
    "TraceTailAdaptive_ELBO": lambda: TraceTailAdaptive_ELBO(num_particles=2),
    "ReweightedWakeSleep": lambda: ReweightedWakeSleep(num_particles=2, insomnia=1.0),
    "TraceTMC_ELBO": quiet(TraceTMC_ELBO),
}


@pytest.mark.parametrize("name", TRAINED_ON)
def test_no_step_is_taken_on_importance_weights_of_other_draws(name, problem):
    x, y, model, *_ = problem
    guide = fitted("MeanFieldNormal", problem)
    before = {k: v.clone() for k, v in guide.state_dict().items()}
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), TRAINED_ON[name]())
    with pytest.raises(RuntimeError, match="local_reparameterization=False"):
        svi.step(x, y)
    assert all(torch.equal(v, before[k]) for k, v in guide.state_dict().items())


SUMS = {
    "Trace_ELBO": Trace_ELBO,
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    "TraceGraph_ELBO": TraceGraph_ELBO,
    "TraceEnum_ELBO": quiet(TraceEnum_ELBO),
    "bitsback.ELBO": bitsback.ELBO,
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_log_densities_are_right_with_local_draws(name, problem):
    x, y, model, evidence, *_ = problem
    found = {}
    for lazy in (True, False):
        guide = fitted("MeanFieldNormal", problem, local_reparameterization=lazy)
        values = torch.tensor([-SUMS[name]().loss(model, guide, x, y) for _ in range(100)])
        found[lazy] = values.mean(), values.std() / 10
        assert found[lazy][0] < evidence + 3 * found[lazy][1]
    gap, errors = found[True][0] - found[False][0], (found[True][1], found[False][1])
    assert gap.abs() < 5 * math.hypot(*errors)


@pytest.mark.parametrize("prior", ["Horseshoe", "NormalJeffreys"])
def test_scales_that_a_layer_drew_for_each_example_too(prior, problem):
    x, y, model, *_ = problem
    model = getattr(bitsback.models, prior)(model.trained(), N, likelihood="normal")
    guide = getattr(bitsback.guides, prior)(model)
    with pytest.raises(RuntimeError, match="local_reparameterization=False"):
        by_hand(model, guide, x, y)
