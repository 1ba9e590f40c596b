"""tau0 of the horseshoe: learned by its closed form and by gradients, or fixed."""

import math

import pyro
import pytest
import torch
from bitsback.guides import ELBO, Horseshoe
from pyro.infer import SVI, TraceMeanField_ELBO
from torch.distributions import LogNormal

from .test_horseshoe import GLOBAL, X, Y, make


@pytest.mark.parametrize("share", ["layer", "global"])
def test_learned_tau0_is_where_the_bound_is_stationary(share):
    model, guide = make(learn_tau0=share, tau0=1e-3)
    before = ELBO().terms(model, guide, X, Y).total_kl
    guide.after_epoch()
    terms = ELBO().terms(model, guide, X, Y)
    assert terms.total_kl < before
    terms.total_kl.backward()
    gradient = model.learned.log_tau0.grad
    assert gradient.shape == ((2,) if share == "layer" else (1,)) and gradient.abs().max() < 1e-5
    for name in model.weight_names:
        q = LogNormal(
            guide.get_parameter(f"loc.{name}.global.gamma"),
            guide.get_parameter(f"log_scale.{name}.global.gamma").exp(),
        )
        if share == "layer":
            torch.testing.assert_close((2 * model.log_tau0(name)).exp(), 2 * q.mean)


@pytest.mark.parametrize("tau0", [1e-6, 0.3, 20.0])
def test_rebalanced_factors_have_the_least_kl(tau0):
    """Of all that leave q(w) as it is, with scales from far below tau0 to far above."""
    model, guide = make(tau0=1.0)
    before = guide.posterior()
    model.tau0 = tau0
    guide.rebalance()
    for name, weight in guide.posterior().weights.items():
        torch.testing.assert_close(weight.loc, before.weights[name].loc)
        torch.testing.assert_close(weight.stddev, before.weights[name].stddev)
        a, b = (guide.get_parameter(f"loc.{name}.{part}") for part in GLOBAL)
        ELBO().terms(model, guide, X, Y).total_kl.backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)
        guide.zero_grad()


@pytest.mark.parametrize("tau0", [1e-5, 1e3])
def test_learned_tau0_goes_to_the_middle_of_s(tau0):
    """With q(w) as it is, and at once."""
    model, guide = make(learn_tau0="layer", tau0=tau0)
    before = guide.posterior()
    guide.after_epoch()
    for name, weight in guide.posterior().weights.items():
        torch.testing.assert_close(weight.loc, before.weights[name].loc)
    for name in model.weight_names:
        a, b = (f"{name}.{part}" for part in GLOBAL)
        middle = guide.get_parameter(f"loc.{a}") + guide.get_parameter(f"loc.{b}")
        v_a, v_b = (
            (2 * guide.get_parameter(f"log_scale.{site}")).exp().detach() for site in (a, b)
        )
        torch.testing.assert_close(
            2 * model.log_tau0(name), middle + (v_a - v_b) / 2, atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("share", ["layer", "global"])
@pytest.mark.parametrize("loss", [ELBO, TraceMeanField_ELBO])
def test_tau0_learns_under_plain_svi(loss, share):
    """From the published value, five decades below the weights, in a few steps."""
    model, guide = make(learn_tau0=share, tau0=1e-5)
    optimizer = pyro.optim.Adam({"lr": 0.01})
    svi = SVI(model, guide, optimizer, loss())
    for _ in range(20):
        svi.step(X, Y)
    learned = model.learned.log_tau0.detach().clone()
    assert (learned > math.log(1e-2)).all()
    guide.update_tau0()
    torch.testing.assert_close(learned, model.learned.log_tau0, rtol=0, atol=0.1)


def test_looking_at_a_pair_moves_no_tau0():
    model, guide = make(learn_tau0="global", tau0=1e-5)
    before = {k: v.clone() for k, v in (guide.state_dict() | model.state_dict()).items()}
    SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), TraceMeanField_ELBO()).evaluate_loss(X, Y)
    guide(X, Y)
    for name, value in (guide.state_dict() | model.state_dict()).items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("tau0", [1e-19, 1e19])
def test_the_smallest_and_the_largest_tau0_have_finite_bounds(tau0):
    model, guide = make(tau0=tau0)
    terms = ELBO().terms(model, guide, X, Y)
    terms.loss.backward()
    assert terms.loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in guide.parameters())


@pytest.mark.parametrize("tau0", [0.0, 1e-20, 4e-20, 1e20, float("nan"), float("inf")])
def test_a_tau0_that_float32_cannot_square_is_refused(tau0):
    with pytest.raises(ValueError, match=r"tau0"):
        make(tau0=tau0)


def test_fixed_tau0_is_not_updated():
    _, guide = make()
    guide.after_epoch()
    with pytest.raises(ValueError, match=r"tau0 is fixed.*learn_tau0='layer'"):
        guide.update_tau0()
    with pytest.raises(ValueError, match="init_scale must be positive"):
        Horseshoe(make()[0], init_scale=-1.0)
