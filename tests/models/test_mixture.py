"""The learned mixture: proportions, start, hyper-priors, and its weight tau."""

import math

import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal, SharedPoints
from bitsback.models import Gaussian, LogUniform, SoftSharing
from bitsback.models.mixture import Mixture
from pyro import poutine
from torch import nn

X, Y = torch.linspace(-1, 1, 24).reshape(6, 4), torch.arange(6) % 2


def net():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def moved(mixture):
    """The mixture, at parameters that are not those it starts from."""
    with torch.no_grad():
        for p in mixture.parameters():
            p.add_(torch.randn_like(p))
    return mixture


def test_proportions():
    mixture = moved(Mixture([torch.randn(50)], components=5, zero_proportion=0.9))
    proportions = mixture.log_proportions().exp()
    assert proportions.sum().item() == pytest.approx(1)
    assert proportions[0].item() == pytest.approx(0.9)
    assert mixture.locs()[0] == 0 and mixture.locs().shape == (5,)


def test_means_start_over_the_range():
    weights = [torch.tensor([[-0.6, 0.1]]), torch.tensor([0.2])]
    locs = Mixture(weights, components=7).locs()
    torch.testing.assert_close(locs, torch.tensor([0.0, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6]))


def test_means_start_over_standard_deviations():
    weights = torch.randn(1000)
    locs = Mixture([weights], components=4, span=2.0).locs()
    expected = weights.std(correction=0) * torch.tensor([0.0, -1.0, 1.0, 2.0])
    torch.testing.assert_close(locs, expected)


def test_it_starts_at_the_networks_weights_and_can_start_again():
    model = LogUniform(net(), 6, mixture={})
    largest = max(w.abs().max() for w in model.initial_weights().values())
    assert model.mixture.locs().max().item() == pytest.approx(largest.item())
    moved(model.mixture).start_at([torch.tensor([0.3, -0.2])])
    assert model.mixture.locs().max().item() == pytest.approx(0.3)
    assert not model.mixture.logits.any()


@pytest.mark.parametrize("hyper", [(5e3, 2.0), (250.0, 0.1), (1e5, 10.0)])
def test_precisions_start_at_the_modes_of_their_priors(hyper):
    """Where the gradient of log Gamma by the log precision is 0, of either sign beside it."""
    mixture = Mixture([torch.randn(9)], components=2, zero_precision=hyper, precision=hyper)
    mode = mixture.initial_precision()
    expected = torch.full((2,), (hyper[0] - 1) / hyper[1])
    torch.testing.assert_close(mode, expected)
    gamma = torch.distributions.Gamma(*(torch.tensor(h).double() for h in hyper))
    for factor, sign in ((0.99, 1), (1.0, 0), (1.01, -1)):
        log_precision = (mode.double() * factor).log().requires_grad_()
        gamma.log_prob(log_precision.exp()).sum().backward()
        slope = log_precision.grad / hyper[0]
        assert (slope.abs() < 1e-6).all() if sign == 0 else (slope.sign() == sign).all()


def soft(weight):
    return SoftSharing(net(), 6, mixture={"components": 5, "weight": weight}), SharedPoints


def drawn(weight):
    mixture = {"components": 5, "weight": weight}
    return LogUniform(net(), 6, mixture=mixture), MeanFieldNormal


@pytest.mark.parametrize("make", [soft, drawn])
def test_the_weight_multiplies_the_mixture_and_its_hyperpriors(make):
    """Minus log densities at the points, by hand, times tau, in the terms of the bound."""
    for weight in (1.0, 0.003):
        model, guide_class = make(weight)
        terms = ELBO().terms(model, guide_class(model), X, Y)
        density = model.mixture.density(model.mixture.initial_precision())
        suffix = "" if make is soft else ".center"
        for name, value in model.initial_weights().items():
            expected = -weight * density.log_prob(value).sum().item()
            assert terms.kl[name + suffix].item() == pytest.approx(expected, rel=1e-5)
        assert terms.kl["mixture.precision"].isfinite()


@pytest.mark.parametrize("make", [soft, drawn])
def test_the_weight_is_poutine_scale_around_the_whole_mixture(make):
    """The KL terms that it multiplies are those of weight 1 under an outer scale on both sides."""
    model, guide_class = make(0.25)
    ours = ELBO().terms(model, guide_class(model), X, Y).kl
    model, guide_class = make(1.0)
    guide = guide_class(model)
    both = poutine.scale(model, 0.25), poutine.scale(guide, 0.25)
    scaled = ELBO().terms(*both, X, Y).kl
    for name, kl in ours.items():
        if make is soft or name.endswith((".center", ".precision")):
            torch.testing.assert_close(kl, scaled[name])


@pytest.mark.parametrize("make", [soft, drawn])
def test_weights_are_drawn_to_their_components(make):
    """The sign: descent on the term moves a mean towards the nearest component, not away."""
    model, guide_class = make(1.0)
    guide = guide_class(model)
    site = "2.weight" if make is soft else "2.weight.center"
    locs = model.mixture.locs().detach()
    with torch.no_grad():
        guide.get_parameter("loc.2.weight").copy_(locs[3] + 0.3 * model.mixture.spacing)
    ELBO().terms(model, guide, X, Y).kl[site].backward()
    assert (guide.get_parameter("loc.2.weight").grad > 0).all()  # descent lowers them, to locs[3]
    # And the mean is drawn to the weights: up.
    assert model.mixture.steps.grad[2] < 0


def test_no_mixture_no_sites():
    assert Gaussian(net(), 6).mixture is None
    trace = poutine.trace(Gaussian(net(), 6)).get_trace(X, Y)
    assert not any("center" in name or "mixture" in name for name in trace.nodes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 1}, "needs 2 components"),
        ({"zero_proportion": 1.0}, "zero_proportion must be within"),
        ({"weight": 0.0}, "must be > 0"),
        ({"precision": (1.0, 0.1)}, "shape > 1"),
    ],
)
def test_bounds(options, message):
    with pytest.raises(ValueError, match=message):
        SoftSharing(net(), 6, mixture=options)


def test_all_is_finite_in_float32_at_the_published_hyperpriors():
    """Gamma(1e5, 10) among them, whose log density is a difference of numbers near 1e6."""
    model = SoftSharing(net(), 6, mixture={"zero_precision": (1e5, 10.0)})
    guide = SharedPoints(model)
    loss = ELBO().differentiable_loss(model, guide, X, Y)
    loss.backward()
    gradients = [p.grad for p in (*guide.parameters(), *model.mixture.parameters())]
    assert math.isfinite(loss.item()) and all(g.isfinite().all() for g in gradients)
