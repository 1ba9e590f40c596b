"""The Gaussian prior: its bound against formulas written out by hand."""

import math

import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal, PointMass
from bitsback.models import Gaussian
from torch import nn


def example(num_data=12, **options):
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    x, y = torch.randn(6, 4), torch.randint(0, 2, (6,))
    return Gaussian(net, num_data, **options), x, y


@pytest.mark.parametrize("prior_scale", [0.1, 2.0])
def test_kl_of_a_normal(prior_scale):
    """sum log(s0 / s) + (s^2 + loc^2) / (2 s0^2) - 1/2, in nats."""
    model, x, y = example(scale=prior_scale)
    terms = ELBO().terms(model, MeanFieldNormal(model, init_scale=0.3), x, y)
    for name, loc in model.initial_weights().items():
        ratio = (0.09 + loc.double().square()) / (2 * prior_scale**2)
        expected = (math.log(prior_scale / 0.3) + ratio - 0.5).sum().item()
        assert terms.kl[name].item() == pytest.approx(expected, rel=1e-5)
    assert terms.total_kl.item() == pytest.approx(sum(v.item() for v in terms.kl.values()))


def test_loss_of_a_point_is_the_regularised_loss():
    """N/B sum of cross entropies + sum w^2 / (2 s^2) + the normaliser of the prior."""
    model, x, y = example(num_data=12, scale=0.5)
    guide = PointMass(model)
    loss = ELBO().loss(model, guide, x, y)
    weights = torch.cat([w.flatten() for w in model.initial_weights().values()])
    penalty = weights.square().sum() / (2 * 0.25)
    normaliser = len(weights) * math.log(0.5 * math.sqrt(2 * math.pi))
    error = nn.functional.cross_entropy(model.trained()(x), y, reduction="sum")
    assert loss == pytest.approx((2 * error + penalty).item() + normaliser, rel=1e-6)


def test_weight_decay():
    """The penalty's gradient on the mean loss is w / (num_data scale^2)."""
    model, x, y = example(num_data=12, scale=0.5)
    guide = PointMass(model)
    ELBO().terms(model, guide, x, y).total_kl.backward()
    for name, loc in model.initial_weights().items():
        gradient = guide.get_parameter(f"loc.{name}").grad / 12
        torch.testing.assert_close(gradient, loc / (12 * 0.25))


def test_the_default_scale_falls_with_the_fan_in():
    """2 / sqrt(fan-in): of a dense layer its inputs, of a convolution those of one position."""
    net = nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(2, 4))
    model = Gaussian(net, 6)
    for name, fan_in in (("0.weight", 75), ("2.weight", 2)):
        scale = model.prior(name, model.initial_weights()[name]).scale
        torch.testing.assert_close(scale, torch.full_like(scale, 2 / math.sqrt(fan_in)))
