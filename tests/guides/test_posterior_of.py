"""Any approximate posterior becomes a `Posterior`: closed forms, draws, and errors."""

import math

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import MeanFieldNormal, posterior_of
from bitsback.models import Gaussian
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoCallable,
    AutoDelta,
    AutoDiagonalNormal,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from torch import nn

X, Y = torch.eye(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
SHAPES = {"0.weight": (3, 4), "2.weight": (2, 3)}
CLOSED = [AutoNormal, AutoDiagonalNormal, AutoLowRankMultivariateNormal, AutoMultivariateNormal]


def make():
    return Gaussian(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), 6, scale=0.5)


def trained(kind, model, steps=3):
    guide = kind(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(steps):
        svi.step(X, Y)
    return guide


def assert_is_a_posterior(posterior):
    assert posterior.weights.keys() == SHAPES.keys()
    for name, weight in posterior.weights.items():
        assert weight.loc.shape == weight.stddev.shape == SHAPES[name]
        assert weight.loc.isfinite().all() and weight.stddev.isfinite().all()
        assert not weight.loc.requires_grad and not weight.stddev.requires_grad


@pytest.mark.parametrize("kind", CLOSED)
def test_autoguides_in_closed_form(kind):
    """Against their own draws, within 5 standard errors; seeded, else it fails 1 time in 1e5."""
    model = make()
    guide = trained(kind, model)
    posterior = posterior_of(guide, model)
    assert_is_a_posterior(posterior)
    with torch.no_grad():
        draws = [guide(X, Y) for _ in range(400)]
    for name, weight in posterior.weights.items():
        sample = torch.stack([d[name] for d in draws])
        error = (sample.mean(0) - weight.loc) / (weight.stddev / math.sqrt(400))
        spread = (sample.std(0) / weight.stddev - 1) * math.sqrt(2 * 400)
        assert error.abs().max() < 5 and spread.abs().max() < 5
        torch.testing.assert_close(
            weight.log_alpha, torch.log(weight.stddev**2 / weight.loc**2), rtol=1e-4, atol=1e-4
        )


def test_an_auto_delta_is_a_point():
    model = make()
    guide = trained(AutoDelta, model)
    posterior = posterior_of(guide, model)
    assert_is_a_posterior(posterior)
    for name, weight in posterior.weights.items():
        assert weight.stddev.eq(0).all() and weight.log_alpha is None
        assert weight.loc.equal(guide.median()[name])


def test_an_autoguide_without_quantiles_is_drawn():
    model = make()
    guide = AutoIAFNormal(model)
    guide(X, Y)
    assert_is_a_posterior(posterior_of(guide, model, num_samples=20))


def test_our_guides_make_their_own():
    model = make()
    guide = MeanFieldNormal(model)
    ours, through = guide.posterior(), posterior_of(guide, model)
    assert all(ours.weights[k].loc.equal(through.weights[k].loc) for k in SHAPES)


def user_guide(model):
    means = model.initial_weights()

    def guide(x=None, y=None):
        return {
            name: pyro.sample(name, pyro.distributions.Normal(means[name], 0.3).to_event(2))
            for name in SHAPES
        }

    return guide


@pytest.mark.parametrize("wrap", [lambda model, guide: guide, AutoCallable])
def test_any_callable_that_returns_its_draws(wrap):
    """Within 5 standard errors, seeded."""
    model = make()
    posterior = posterior_of(wrap(model, user_guide(model)), model, X, Y, num_samples=500)
    assert_is_a_posterior(posterior)
    for name, weight in posterior.weights.items():
        error = (weight.loc - model.initial_weights()[name]) / (0.3 / math.sqrt(500))
        assert error.abs().max() < 5
        assert ((weight.stddev / 0.3 - 1).abs() * math.sqrt(1000)).max() < 5


def test_lazy_draws_become_ordinary_ones():
    model = make()
    guide = MeanFieldNormal(model, init_scale=0.3)
    posterior = posterior_of(lambda: guide(), model, num_samples=300)
    for weight in posterior.weights.values():
        assert ((weight.stddev / 0.3 - 1).abs() * math.sqrt(600)).max() < 5


def draws(count=7):
    return {name: torch.randn(count, *shape) for name, shape in SHAPES.items()}


def test_draws_by_site():
    given = draws()
    posterior = posterior_of(given | {"other": torch.zeros(7)}, make())
    assert_is_a_posterior(posterior)
    for name, weight in posterior.weights.items():
        torch.testing.assert_close(weight.loc, given[name].mean(0))
        torch.testing.assert_close(weight.stddev, given[name].std(0))


def test_a_weight_that_every_draw_has_at_zero_goes():
    given = draws()
    given["0.weight"][:, 0] = 0
    log_alpha = posterior_of(given, make()).weights["0.weight"].log_alpha
    assert log_alpha[0].eq(math.inf).all() and log_alpha[1:].isfinite().all()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"0.weight": torch.zeros(5, 3, 4)}, "no draws of the weight '2.weight'; sites: 0.weight"),
        (draws() | {"2.weight": torch.zeros(5, 3, 2)}, r"'2.weight'.*\(3, 2\), not \(2, 3\)"),
        (draws(1), "'0.weight': 1 draws; a stddev needs two"),
    ],
)
def test_errors(given, message):
    with pytest.raises(ValueError, match=message):
        posterior_of(given, make())


def test_a_guide_need_not_return_its_draws():
    model = bitsback.models.Gaussian(nn.Linear(2, 1), 3, likelihood="normal")

    def guide(x):
        pyro.sample("weight", pyro.distributions.Normal(torch.ones(1, 2), 0.1).to_event(2))

    found = posterior_of(guide, model, torch.ones(3, 2), num_samples=400).weights["weight"]
    torch.testing.assert_close(found.loc, torch.ones(1, 2), atol=0.03, rtol=0)
    torch.testing.assert_close(found.stddev, torch.full((1, 2), 0.1), atol=0.02, rtol=0)


def test_moments_of_centred_weights_are_exact_under_normal_guides():
    model = bitsback.models.Horseshoe(
        nn.Linear(2, 1), 3, tau0=0.5, likelihood="normal", centred=True
    )
    guide = AutoNormal(model, init_scale=0.2)
    guide(torch.ones(3, 2), torch.ones(3, 1))
    stddev = posterior_of(guide, model).weights["weight"].stddev
    torch.testing.assert_close(stddev, torch.full((1, 2), 0.2))


def test_a_guide_of_another_model_is_refused():
    other = MeanFieldNormal(Gaussian(nn.Sequential(nn.Linear(4, 2)), 6))
    with pytest.raises(ValueError, match=r"another model: '2\.weight'.*0\.weight, 2\.weight"):
        posterior_of(other, make())


def test_the_model_first_is_refused():
    model = make()
    with pytest.raises(ValueError, match=r"the guide first, then its model .*; got a AutoDelta"):
        posterior_of(model, AutoDelta(model))
