"""Precisions of priors against closed forms and the bound that they promise."""

import pytest
import torch
from bitsback.distributions import ScaleMixture
from bitsback.guides.prior_precision import prior_precision
from pyro.distributions import Categorical, Laplace, MixtureSameFamily, Normal, StudentT

W = torch.tensor([[-1.3, -0.2], [0.05, 0.7]], dtype=torch.float64)


def test_of_a_normal_it_is_one_over_the_variance():
    found = prior_precision(Normal(torch.zeros_like(W), 0.5), W, "w")
    torch.testing.assert_close(found, torch.full_like(W, 4.0))


def test_closed_forms():
    found = prior_precision(Laplace(torch.zeros_like(W), 0.3), W, "w")
    torch.testing.assert_close(found, 1 / (0.3 * W.abs()))
    found = prior_precision(StudentT(3.0, torch.zeros_like(W), 1.0), W, "w")
    torch.testing.assert_close(found, 4 / (3 + W.square()))
    mixture = ScaleMixture(0.25, 1.0, 0.1, W.shape, W)
    narrow = mixture.log_odds(W).sigmoid()
    expected = narrow / 0.01 + (1 - narrow)
    torch.testing.assert_close(prior_precision(mixture, W, "w"), expected)


@pytest.mark.parametrize("prior", [Laplace(0.0, 0.3), StudentT(2.0), ScaleMixture(0.3, 1.0, 0.1)])
def test_the_normal_is_below_the_prior_and_touches_it(prior):
    w, v = torch.tensor(0.4, dtype=torch.float64), torch.linspace(-3, 3, 1201, dtype=torch.float64)
    precision = prior_precision(prior.expand(()), w, "w")
    bound = prior.log_prob(w) - precision * (v**2 - w**2) / 2
    assert (prior.log_prob(v) >= bound - 1e-9).all()


def test_near_zero_it_is_that_of_a_thousandth_of_the_root_mean_square():
    w = torch.tensor([0.0, 1.0, -1e-9], dtype=torch.float64)
    found = prior_precision(Laplace(torch.zeros(3, dtype=torch.float64), 0.3), w, "w")
    least = 1e-3 * w.square().mean().sqrt()
    torch.testing.assert_close(found[[0, 2]], (1 / (0.3 * least)).expand(2))
    zeros = prior_precision(ScaleMixture(0.3, 1.0, 0.1, (2,)), torch.zeros(2), "w")
    assert zeros.isfinite().all()


def test_a_density_that_rises_away_from_zero_is_refused():
    parts = Normal(torch.tensor([-1.0, 1.0]), 0.2)
    prior = MixtureSameFamily(Categorical(torch.ones(2)), parts)
    with pytest.raises(ValueError, match=r"prior of 'w', MixtureSameFamily, does not fall"):
        prior_precision(prior, torch.tensor(0.3), "w")
