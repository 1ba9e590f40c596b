"""The Laplace prior: L1 regularisation, and its KL against sums and integrals."""

import math

import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal, PointMass
from bitsback.models import Laplace
from torch import nn


def example(**options):
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    return Laplace(net, 12, **options), torch.randn(6, 4), torch.randint(0, 2, (6,))


def test_kl_of_a_point_is_the_penalty():
    """-log p = |w| / scale + log(2 scale), in nats."""
    model, x, y = example(scale=0.25)
    terms = ELBO().terms(model, PointMass(model), x, y)
    for name, w in model.initial_weights().items():
        expected = w.abs().sum() / 0.25 + w.numel() * math.log(0.5)
        torch.testing.assert_close(terms.kl[name], expected)


def test_kl_of_a_normal_is_the_integral():
    """Trapezoids over 40 standard deviations, float64; their error is below 1e-6."""
    model, x, y = example(scale=0.25)
    guide = MeanFieldNormal(model, init_scale=0.3)
    terms = ELBO().terms(model, guide, x, y)
    for name, loc in model.initial_weights().items():
        q = torch.distributions.Normal(loc.double()[..., None], 0.3)
        p = torch.distributions.Laplace(torch.zeros((), dtype=torch.float64), 0.25)
        w = loc.double()[..., None] + torch.linspace(-6, 6, 200_001, dtype=torch.float64)
        difference = q.log_prob(w) - p.log_prob(w)
        expected = torch.trapezoid(q.log_prob(w).exp() * difference, w).sum()
        assert terms.kl[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_scale_must_be_positive():
    with pytest.raises(ValueError, match="scale of the Laplace prior must be positive; got 0"):
        example(scale=0)
