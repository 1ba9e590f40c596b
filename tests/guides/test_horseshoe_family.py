"""Gamma scales and centred weights of the horseshoe: KLs, moments, the bound, the start."""

import pyro
import pytest
import torch
from bitsback.guides import ELBO, Horseshoe, HorseshoeFamily, posterior_of
from bitsback.models import Horseshoe as Model
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from torch import nn
from torch.distributions.kl import kl_divergence

X, Y = torch.linspace(-1, 1, 24).reshape(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
KINDS = [(family, centred) for family in ("log-normal", "gamma") for centred in (False, True)]


def make(family, centred, **options):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    model = Model(net, 6, tau0=0.5, centred=centred, **options)
    guide = HorseshoeFamily(model, family)
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
            if name.startswith("log_scale") and not name.endswith(".base"):
                parameter.add_(0.8)
    return model, guide


@pytest.mark.parametrize("site", ["0.weight.local.gamma", "0.weight.local.inverse_gamma"])
@pytest.mark.parametrize("family", ["log-normal", "gamma"])
@torch.no_grad()
def test_kl_of_a_factor_by_quadrature(family, site):
    """Over log x, where both densities have tails that fall exponentially."""
    model, guide = make(family, centred=False)
    q, p = guide._q(site), model.factors("0.weight")[site]
    u = torch.arange(-20, 20, 0.02)[:, None]
    log_q = q.log_prob(u.exp()) + u
    mass = log_q.exp() * 0.02
    torch.testing.assert_close(mass.sum(0), torch.ones(4), rtol=1e-4, atol=0)
    integrand = torch.where(mass > 0, mass * (log_q - p.log_prob(u.exp()) - u), 0.0)
    torch.testing.assert_close(kl_divergence(q, p), integrand.sum(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("family", "centred"), KINDS)
@torch.no_grad()
def test_moments_are_those_of_draws(family, centred):
    _, guide = make(family, centred)
    count = 40_000
    for name, weight in guide.posterior().weights.items():
        loc, log_scale = (guide._get(kind, f"{name}.base") for kind in ("loc", "log_scale"))
        values = loc + log_scale.exp() * torch.randn(count, *loc.shape)
        squares = [guide._q(site).sample((count,)) for site in guide._factors[name]]
        logs = sum(square.log() for square in squares) / 2
        score = weight.groups[0].score
        torch.testing.assert_close(score, logs.var(0) - logs.mean(0), rtol=0.02, atol=0.02)
        if not centred:
            values = values * logs.exp()[:, None]
        stderr = values.std(0) / count**0.5
        assert ((values.mean(0) - weight.loc).abs() < 5 * stderr).all()
        torch.testing.assert_close(values.std(0), weight.stddev, rtol=0.1, atol=0)


@pytest.mark.parametrize(("family", "centred"), KINDS)
def test_the_bound_is_that_of_draws(family, centred):
    """Closed-form KLs against log q - log p at the draws."""
    model, guide = make(family, centred)
    found = []
    for loss in (ELBO(), Trace_ELBO()):
        values = torch.tensor([loss.loss(model, guide, X, Y) for _ in range(150)])
        found += [values.mean(), values.var() / len(values)]
    assert (found[0] - found[2]).abs() < 5 * (found[1] + found[3]).sqrt(), found


@torch.no_grad()
def test_centred_is_the_same_prior():
    """log p of the same w and scales: of base it is more by log(z s) for each weight."""
    (plain, guide), (centred, _) = make("gamma", False), make("gamma", True)
    trace = poutine.trace(guide).get_trace(X)
    draws = {k: torch.clone(v["value"]) for k, v in trace.nodes.items() if v["type"] == "sample"}
    first = poutine.trace(poutine.condition(plain.sample_weights, draws)).get_trace()
    weights = {name: first.nodes[name]["value"] for name in plain.weight_names}
    draws |= {f"{name}.centred": w for name, w in weights.items()}
    second = poutine.trace(poutine.condition(centred.sample_weights, draws)).get_trace()
    jacobian = sum((w / draws[f"{name}.base"]).log().sum() for name, w in weights.items())
    expected = first.log_prob_sum() - jacobian
    torch.testing.assert_close(second.log_prob_sum(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("family", "centred"), KINDS)
def test_starts_at_the_network_and_trains(family, centred):
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    model = Model(net, 6, tau0=0.5, centred=centred)
    guide = HorseshoeFamily(model, family)
    for name, weight in guide.posterior().weights.items():
        torch.testing.assert_close(weight.loc, net.get_parameter(name).detach(), rtol=0.05, atol=0)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.03}), ELBO())
    first = sum(svi.evaluate_loss(X, Y) for _ in range(20))
    for _ in range(100):
        svi.step(X, Y)
    assert sum(svi.evaluate_loss(X, Y) for _ in range(20)) < first - 10


@pytest.mark.parametrize("kind", [AutoDiagonalNormal, AutoNormal])
def test_pyros_guides_take_the_centred_form(kind):
    """Those of one flat vector, and those that keep a parameter for each site."""
    model, _ = make("gamma", centred=True)
    pyro.clear_param_store()
    guide = kind(model, init_scale=0.1)
    SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(X, Y)
    assert posterior_of(guide, model).weights.keys() == {"0.weight", "2.weight"}


def test_refusals():
    centred, _ = make("gamma", centred=True)
    with pytest.raises(ValueError, match="HorseshoeFamily takes both"):
        Horseshoe(centred)
    with pytest.raises(ValueError, match="family must be one of log-normal, gamma"):
        HorseshoeFamily(centred, "normal")
    with pytest.raises(ValueError, match="centred=True"):
        HorseshoeFamily(Model(nn.Linear(2, 1), 3, slab=1.0))
