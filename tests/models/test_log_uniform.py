"""The log-uniform prior over a network: its KL, and the guides that it refuses."""

import functools

import pyro
import pytest
import torch
from bitsback.distributions.log_uniform_kl import exact_kl, molchanov_kl
from bitsback.guides import ELBO, MeanFieldNormal, PointMass, posterior_of
from bitsback.models import LogUniform
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoNormal, init_to_value
from torch import nn

X, Y = torch.eye(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
WHY = "log-uniform prior p.w. = 1/.w. is improper"


def make(**options):
    return LogUniform(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), 6, **options)


@pytest.mark.parametrize("name, function", [("exact", exact_kl), ("molchanov", molchanov_kl)])
def test_kl(name, function):
    model = make(kl=name)
    kl = ELBO().terms(model, MeanFieldNormal(model, init_scale=0.3), X, Y).kl
    for site, loc in model.initial_weights().items():
        expected = function(loc, torch.full_like(loc, 0.3).log()).sum()
        torch.testing.assert_close(kl[site], expected)


def svi(guide_class, loss):
    model = make()
    SVI(model, guide_class(model), pyro.optim.Adam({"lr": 1e-3}), loss()).step(X, Y)


def from_its_weights(guide_class, loss):
    """The start by which a user would get round sampling the prior."""
    model = make()
    values = dict(model.initial_weights())
    guide = guide_class(model, init_loc_fn=init_to_value(values=values))
    SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), loss()).step(X, Y)


def nuts(**options):
    MCMC(NUTS(make(), **options), num_samples=2, warmup_steps=2, disable_progbar=True).run(X, Y)


REFUSED = {
    "AutoNormal": lambda: svi(AutoNormal, Trace_ELBO),
    "AutoNormal, mean field": lambda: svi(AutoNormal, TraceMeanField_ELBO),
    "AutoNormal, strict": lambda: svi(AutoNormal, ELBO),
    "AutoNormal from values": lambda: from_its_weights(AutoNormal, Trace_ELBO),
    "AutoLowRank": lambda: svi(AutoLowRankMultivariateNormal, Trace_ELBO),
    "AutoLowRank from values": lambda: from_its_weights(AutoLowRankMultivariateNormal, Trace_ELBO),
    "NUTS": nuts,
    "NUTS from values": lambda: nuts(
        init_strategy=init_to_value(values=dict(make().initial_weights()))
    ),
    "Trace_ELBO": lambda: svi(MeanFieldNormal, Trace_ELBO),
    "Trace_ELBO, honest draws": lambda: svi(
        functools.partial(MeanFieldNormal, local_reparameterization=False), Trace_ELBO
    ),
    "PointMass": lambda: svi(PointMass, TraceMeanField_ELBO),
    "PointMass, strict": lambda: svi(PointMass, ELBO),
}


@pytest.mark.parametrize("name", REFUSED)
def test_guides_without_a_closed_form_are_refused(name):
    with pytest.raises(NotImplementedError, match=WHY):
        REFUSED[name]()


def test_draws_are_refused():
    draws = {k: torch.randn(5, *v.shape) for k, v in make().initial_weights().items()}
    with pytest.raises(ValueError, match=r"LogUniform has an improper prior.*proper prior"):
        posterior_of(draws, make())
