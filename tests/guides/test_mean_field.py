"""The factorised guides: parameters, moments, quantiles, and nothing shared."""

import math

import pyro
import pytest
import torch
from bitsback.guides import MeanFieldNormal, PointMass
from bitsback.models import Gaussian, LogUniform
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import nn

X, Y = torch.eye(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
KINDS = [MeanFieldNormal, PointMass]


def make(model_class=Gaussian):
    return model_class(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), 6)


def spread(guide):
    """The guide, at parameters that are not those it starts from."""
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.5 * torch.randn(p.shape))
    return guide


def train(model, guide, steps=3):
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), TraceMeanField_ELBO())
    for _ in range(steps):
        svi.step(X, Y)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_at_the_networks_weights(kind):
    model = make()
    guide = kind(model)
    assert {k.partition(".")[0] for k in guide.state_dict()} <= {"loc", "log_scale"}
    posterior = guide.posterior()
    assert posterior.weights.keys() == {"0.weight", "2.weight"}
    for name, weight in posterior.weights.items():
        assert weight.loc.equal(model.initial_weights()[name])


def test_initial_scale():
    weight = MeanFieldNormal(make(), init_scale=0.02).posterior().weights["0.weight"]
    torch.testing.assert_close(weight.stddev, torch.full((3, 4), 0.02))
    with pytest.raises(ValueError, match="init_scale must be positive; got 0"):
        MeanFieldNormal(make(), init_scale=0)


def test_log_alpha_is_that_of_the_moments():
    weight = spread(MeanFieldNormal(make())).posterior().weights["0.weight"]
    expected = torch.log(weight.stddev.square() / weight.loc.square())
    torch.testing.assert_close(weight.log_alpha, expected)
    assert weight.inclusion.equal(torch.ones(()))


def test_a_mean_of_zero_is_certain_to_go():
    model = make()
    guide = MeanFieldNormal(model)
    with torch.no_grad():
        guide.get_parameter("loc.0.weight")[0] = 0
    assert guide.posterior().weights["0.weight"].log_alpha[0].eq(math.inf).all()


def test_point_has_no_spread():
    weight = spread(PointMass(make())).posterior().weights["0.weight"]
    assert weight.stddev.eq(0).all() and weight.log_alpha is None


def test_median_and_quantiles():
    guide = spread(MeanFieldNormal(make(), init_scale=0.3))
    weight, median = guide.posterior().weights["2.weight"], guide.median()["2.weight"]
    low, middle, high = guide.quantiles([0.0227501, 0.5, 0.9772499])["2.weight"]
    assert median.equal(weight.loc) and not median.requires_grad
    torch.testing.assert_close(middle, median)
    torch.testing.assert_close(low, weight.loc - 2 * weight.stddev, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(high, weight.loc + 2 * weight.stddev, rtol=1e-5, atol=1e-5)
    point = spread(PointMass(make()))
    both = point.quantiles([0.1, 0.9])["2.weight"]
    assert both.shape == (2, 2, 3) and both[0].equal(point.median()["2.weight"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", [True, False])
def test_guides_of_one_class_share_nothing(kind, setting):
    """Whatever Pyro's module_local_params is: training one leaves the other as it was."""
    with pyro.settings.context(module_local_params=setting):
        trained, other = make(), make()
        guide, still = kind(trained), kind(other)
        before = {k: v.clone() for k, v in (guide.state_dict() | other.state_dict()).items()}
        others = {k: v.clone() for k, v in still.state_dict().items()}
        train(trained, guide)
        train(trained, guide)
    assert not any(v.equal(before[k]) for k, v in guide.state_dict().items())
    assert all(v.equal(others[k]) for k, v in still.state_dict().items())
    assert all(v.equal(before[k]) for k, v in other.state_dict().items())


def test_one_guide_fits_both_priors():
    for model_class in (Gaussian, LogUniform):
        model = make(model_class)
        train(model, MeanFieldNormal(model))
