"""The group horseshoe: prior, KLs, moments, slab, ablations, other guides, the bound."""

import contextlib
import math

import numpy as np
import pyro
import pytest
import torch
from bitsback.distributions import Gamma, InverseGamma
from bitsback.guides import ELBO, Horseshoe, posterior_of
from bitsback.guides.noise import noise_from
from bitsback.models import Horseshoe as Model
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import nn
from torch.distributions import HalfCauchy, LogNormal, Normal, kl_divergence

X, Y = torch.linspace(-1, 1, 24).reshape(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
SIGMAS = 5  # of seeded draws: another seed fails with probability 6e-7 for each number compared
GLOBAL = ("global.gamma", "global.inverse_gamma")
LOCAL = ("local.gamma", "local.inverse_gamma")
VARIANTS = {
    "both": {},
    "global": {"scales": "global"},
    "local": {"scales": "local"},
    "slab": {"slab": 0.7},
    "inverse gamma": {"inverse_gamma": (0.1, 0.2)},
    "learned": {"learn_tau0": "layer"},
    "learned together": {"learn_tau0": "global"},
}


def dense():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def conv():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(3, 2)
    )


def make(net=dense, tau0=0.5, **options):
    model = Model(net(), 6, tau0=tau0, **options)
    guide = Horseshoe(model)
    with torch.no_grad():  # parameters of all sizes, so that every term of a formula counts
        for name, parameter in guide.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
            if name.startswith("log_scale"):
                parameter.add_(0.8)
    return model, guide


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("net", [dense, conv])
def test_kl_and_sites(name, net):
    """Each factor's KL is from a prior written out here; no site is missing or in excess."""
    options = VARIANTS[name]
    model, guide = make(net, **options)
    shape, scale = options.get("inverse_gamma", (0.5, 1.0))
    priors = {
        "global.gamma": Gamma(torch.tensor(0.5), torch.tensor(1 / 0.5**2)),
        "global.inverse_gamma": InverseGamma(torch.tensor(0.5), torch.tensor(1.0)),
        "local.gamma": Gamma(torch.tensor(0.5), torch.tensor(1.0)),
        "local.inverse_gamma": InverseGamma(torch.tensor(shape), torch.tensor(scale)),
        "base": Normal(0.0, 1.0),
    }
    if "scales" in options:
        priors = {
            k: v for k, v in priors.items() if k in (*(GLOBAL, LOCAL)[name == "local"], "base")
        }
    if "inverse_gamma" in options:
        del priors["local.gamma"]
    kl = ELBO().terms(model, guide, X, Y).kl
    assert kl.keys() == {f"{w}.{part}" for w in model.weight_names for part in priors}
    for site, value in kl.items():
        family = Normal if site.endswith(".base") else LogNormal
        q = family(
            guide.get_parameter(f"loc.{site}"), guide.get_parameter(f"log_scale.{site}").exp()
        )
        part = next(p for p in priors if site.endswith(f".{p}"))
        torch.testing.assert_close(value, kl_divergence(q, priors[part]).sum())
        if "global" in part:
            assert q.loc.shape == (1,)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("net", [dense, conv])
def test_moments_are_those_of_draws(name, net):
    """Draws of the sites, put through the model's own arithmetic."""
    model, guide = make(net, **VARIANTS[name])
    nodes = pyro.poutine.trace(guide).get_trace().stochastic_nodes
    trace = pyro.poutine.trace(guide).get_trace()
    count = 4000
    slab = model.slab or math.inf
    for weight_name, weight in guide.posterior().weights.items():
        square = 1.0
        for site in (s for s in nodes if s.startswith(weight_name) and not s.endswith("base")):
            square = square * trace.nodes[site]["fn"].sample((count,)).double()
        scale = (1 / (1 / square + 1 / slab**2)).sqrt()
        base = trace.nodes[f"{weight_name}.base"]["fn"].sample((count,)).double()
        along = (count, 1, -1) if base.dim() == 3 else (count, -1, 1, 1, 1)
        sample = base * scale.reshape(along)
        stderr = sample.std(0) / math.sqrt(count)
        assert ((sample.mean(0) - weight.loc).abs() / stderr).max() < SIGMAS
        squares = (sample - weight.loc).square()
        stderr = squares.std(0) / math.sqrt(count)
        assert ((squares.mean(0) - weight.stddev.square()).abs() / stderr).max() < SIGMAS


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("net", [dense, conv])
def test_a_draw_of_the_prior(name, net):
    """Many at once too. The weight is base times the root of the factors' product, and the slab
    bounds it."""
    model, _ = make(net, **VARIANTS[name])
    assert model.proper
    for count in (None, 5):
        with pyro.plate("draws", count, dim=-5) if count else contextlib.nullcontext():
            nodes = pyro.poutine.trace(model.sample_weights).get_trace().nodes
        for weight_name, initial in model.initial_weights().items():
            sites = list(model.factors(weight_name))
            square = math.prod(nodes[s]["value"] for s in sites)
            if model.slab:
                square = 1 / (1 / square + 1 / model.slab**2)
            batch, axis = square.shape[:-1], 1 if initial.dim() == 2 else 0
            along = [1] * initial.dim()
            along[axis] = square.shape[-1]
            expected = nodes[f"{weight_name}.base"]["value"] * square.sqrt().reshape(*batch, *along)
            value = nodes[weight_name]["value"]
            assert value.shape == (*batch, *initial.shape)
            torch.testing.assert_close(value, expected)


def test_the_slab_holds_for_the_largest_and_the_smallest_scales():
    model = Model(nn.Linear(2, 1, bias=False), 6, likelihood="normal", slab=0.7)
    ones = {s: torch.ones_like(prior.rate) for s, prior in model.factors("weight").items()}
    large = {site: 1e18 * one for site, one in ones.items()}
    small = {site: (1e-8 * one).requires_grad_() for site, one in ones.items()}
    base = {"weight.base": torch.ones(1, 2)}
    weight = pyro.poutine.condition(model.sample_weights, large | base)()["weight"]
    torch.testing.assert_close(weight, torch.full((1, 2), 0.7))
    pyro.poutine.condition(model.sample_weights, small | base)()["weight"].sum().backward()
    assert all(value.grad.isfinite().all() for value in small.values())


def test_the_guide_starts_at_the_network():
    for options in VARIANTS.values():
        net = dense()
        guide = Horseshoe(Model(net, 6, **options))
        for name, weight in guide.posterior().weights.items():
            torch.testing.assert_close(
                weight.loc, net.get_parameter(name).detach(), rtol=0.01, atol=1e-9
            )
            torch.testing.assert_close(
                guide.median()[name], net.get_parameter(name).detach(), rtol=1e-5, atol=1e-9
            )


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("net", [dense, conv])
def test_gradients_agree_with_pyros_own(name, net):
    model, guide = make(net, **VARIANTS[name])
    results = []
    for loss in (ELBO(), TraceMeanField_ELBO()):
        pyro.set_rng_seed(3)
        model.zero_grad()
        guide.zero_grad()
        value = loss.loss_and_grads(model, guide, X, Y)
        parameters = [*guide.parameters(), *model.parameters()]
        assert all(p.grad.isfinite().all() and p.grad.any() for p in parameters)
        results.append([torch.tensor(value), *(p.grad.clone() for p in parameters)])
    torch.testing.assert_close(*results)


class OneWeight:
    """y = w x + noise for one weight: the evidence by quadrature over z, s; then w is normal."""

    x = torch.tensor([[1.0], [2.0], [-1.0]], dtype=torch.float64)
    y = torch.tensor([[0.8], [1.7], [-0.6]], dtype=torch.float64)

    def __init__(self, tau0: float, **options):
        self.tau0, self.options = tau0, options
        net = nn.Linear(1, 1, bias=False).double()
        self.model = Model(net, 3, likelihood="normal", tau0=tau0, **options)

    def log_evidence(self) -> float:
        """p(y) = E N(y; 0, I + (z s)^2 x x'), z and s by their quantiles at midpoints."""
        levels = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        ones = torch.ones(1, dtype=torch.float64)
        s = HalfCauchy(self.tau0 * ones).icdf(levels)
        z = HalfCauchy(ones).icdf(levels)
        square = (s[:, None] * z).square()
        slab = self.options.get("slab")
        if slab is not None:
            square = 1 / (1 / square + 1 / slab**2)
        xx, xy, yy = (self.x**2).sum(), (self.x * self.y).sum(), (self.y**2).sum()
        grown = 1 + square * xx
        log_p = -0.5 * (grown.log() + yy - square * xy**2 / grown) - 1.5 * math.log(2 * math.pi)
        return log_p.exp().mean().log().item()

    def bound(self, guide) -> float:
        """Exact: the squared error depends on q(w) through its first two moments."""
        weight = guide.posterior().weights["weight"]
        kl = ELBO().terms(self.model, guide, self.x, self.y).total_kl.item()
        loc, variance = weight.loc.item(), weight.stddev.item() ** 2
        errors = ((self.y - loc * self.x) ** 2 + variance * self.x**2).sum().item()
        return -0.5 * errors - 1.5 * math.log(2 * math.pi) - kl


@pytest.mark.parametrize("options", [{}, {"slab": 2.0}])
def test_the_bound_is_below_the_evidence(options):
    """At the start, all the way, and close at the end, where mean field is all that is missing."""
    problem = OneWeight(0.5, **options)
    guide, evidence = Horseshoe(problem.model, init_scale=0.3), problem.log_evidence()
    svi = SVI(problem.model, guide, pyro.optim.Adam({"lr": 0.05}), ELBO())
    bounds = [problem.bound(guide)]
    for step in range(150):
        svi.step(problem.x, problem.y)
        if step % 50 == 49:
            bounds.append(problem.bound(guide))
    assert max(bounds) < evidence
    assert evidence - bounds[-1] < 2.5 < 5 < evidence - bounds[0]


def test_the_evidence_by_sampling():
    """The quadrature against the mean likelihood of prior draws, within 5 standard errors."""
    problem = OneWeight(0.5)
    w = Normal(0.0, 1.0).sample((100_000,)).double()
    w = w * HalfCauchy(0.5).sample(w.shape) * HalfCauchy(1.0).sample(w.shape)
    errors = (problem.y - problem.x * w).square().sum(0)
    likelihood = torch.exp(-0.5 * errors - 1.5 * math.log(2 * math.pi))
    gap = likelihood.mean() - math.exp(problem.log_evidence())
    assert gap.abs() < SIGMAS * likelihood.std() / math.sqrt(len(w))


def test_weights_of_a_dead_group_are_prunable():
    """Though base is as sure as it was: its marginal log alpha does not see the scale."""
    model = Model(dense(), 6)
    guide = Horseshoe(model)
    with torch.no_grad():
        guide.get_parameter("loc.0.weight.local.inverse_gamma")[1] -= 40.0
    weight = guide.posterior().weights["0.weight"]
    marginal = 2 * (weight.stddev.log() - weight.loc.abs().log())
    score = weight.groups[0].score
    assert marginal[:, 1].max() < 0 and (weight.log_alpha[:, 1] > 8).all()
    assert score[1] > 15 and (score[[0, 2, 3]] < 3).all()
    alive = [0, 2, 3]
    torch.testing.assert_close(weight.log_alpha[:, alive], marginal[:, alive], rtol=0, atol=1.0)


def test_score_is_the_negative_log_mode():
    _, guide = make()
    mean, variance = guide.composite("0.weight")
    q = LogNormal(mean[0], variance[0].sqrt())
    z = torch.logspace(-4, 2, 100_001)
    mode = z[q.log_prob(z).argmax()]
    score = guide.posterior().weights["0.weight"].groups[0].score
    torch.testing.assert_close(score[0], -mode.log(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [AutoNormal, AutoDelta])
def test_pyros_guides(kind):
    model = Model(dense(), 6, tau0=1.0)
    guide = kind(model)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(X, Y) for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    posterior = posterior_of(guide, model, num_samples=50)
    for name, weight in posterior.weights.items():
        assert weight.loc.shape == model.initial_weights()[name].shape
        assert bool(weight.stddev.any()) == (kind is AutoNormal)


def test_nuts():
    model = Model(dense(), 6, tau0=1.0)
    mcmc = MCMC(NUTS(model, max_tree_depth=3), 5, warmup_steps=5, disable_progbar=True)
    mcmc.run(X, Y)
    weight = posterior_of(mcmc, model).weights["0.weight"]
    assert weight.loc.shape == (3, 4) and weight.stddev.gt(0).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_draws_become_weights(name):
    """Of the guide itself, as any callable: within 5 standard errors of its closed form."""
    model, guide = make(**VARIANTS[name])
    closed = guide.posterior()
    posterior = posterior_of(lambda: guide(), model, num_samples=150)
    for key, weight in posterior.weights.items():
        error = (weight.loc - closed.weights[key].loc).abs()
        assert (error / (weight.stddev / math.sqrt(150))).max() < SIGMAS


def test_draws_without_a_site():
    model, guide = make()
    draws = {k: torch.ones(3, *torch.clone(v).shape) for k, v in guide().items()}
    del draws["2.weight.local.gamma"]
    with pytest.raises(ValueError, match=r"no draws of the site '2.weight.local.gamma'; sites: 0"):
        posterior_of(draws, model)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tau0": 0.0}, "tau0 must be positive; got"),
        ({"slab": -1.0}, "slab must be positive; got"),
        ({"inverse_gamma": (0.0, 1.0)}, "inverse_gamma must be positive; got"),
        ({"scales": "none"}, "scales must be one of both, global, local; got 'none'"),
        ({"learn_tau0": "yes"}, "learn_tau0 must be None, 'layer' or 'global'; got 'yes'"),
        ({"learn_tau0": "layer", "scales": "local"}, "learn_tau0 needs a global scale"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Model(dense(), 6, **options)


def test_max_scale_bounds_base_alone():
    guide = Horseshoe(Model(dense(), 6), max_scale=0.4)
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            if name.startswith("log_scale"):
                parameter.fill_(1.0)
    for site, (low, high) in guide.quantiles([0.5, 0.8413447]).items():
        if site.endswith(".base"):
            spread, expected = high - low, 1 / (1 / math.e + 1 / 0.4)
        else:
            spread, expected = high / low, math.exp(math.e)
        torch.testing.assert_close(spread, torch.full_like(low, expected), rtol=1e-4, atol=0.0)
    with pytest.raises(ValueError, match="'weight' is no latent weight"):
        Horseshoe(Model(dense(), 6), max_scale={"weight": 1.0})


def test_honest_draws_have_the_same_bound():
    """local_reparameterization=False: equal without noise, and no lazy thing is left."""
    model, _ = make()
    losses = []
    for local in (True, False):
        guide = Horseshoe(model, local_reparameterization=local)
        with noise_from(lambda shape, like: torch.zeros(shape, dtype=like.dtype)):
            losses.append(ELBO().loss(model, guide, X, Y))
        assert all(isinstance(v, torch.Tensor) for v in guide().values()) == (not local)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
