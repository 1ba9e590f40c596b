"""The diagonal Fisher information against Hessians by autograd, and closed forms."""

import functools

import pyro
import pytest
import torch
from bitsback.guides import DiagonalLaplace, curvature
from bitsback.guides.curvature import fisher_diagonal
from bitsback.models import Gaussian, Laplace
from bitsback.models.likelihoods import bernoulli, categorical, normal
from torch import nn
from torch.func import functional_call

F64 = torch.float64
LIKELIHOODS = {
    "categorical": (categorical, 4),
    "bernoulli": (bernoulli, 3),
    "normal": (functools.partial(normal, scale=0.5), 3),
}


def weights_of(net):
    return {n: p.detach() for n, p in net.named_parameters() if p.dim() > 1}


def hessian_diagonal(net, likelihood, x, y) -> dict[str, torch.Tensor]:
    """Of the mean over examples of -log p(y | x, w), by autograd."""
    weights = weights_of(net)

    def loss(*values):
        output = functional_call(net, dict(zip(weights, values, strict=True)), (x,))
        return -likelihood(output).log_prob(y).mean()

    with pyro.validation_enabled(False):
        blocks = torch.autograd.functional.hessian(loss, tuple(weights.values()))
    result = {}
    for i, (name, value) in enumerate(weights.items()):
        result[name] = blocks[i][i].reshape(value.numel(), -1).diagonal().reshape(value.shape)
    return result


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_of_a_linear_network_it_is_the_hessian(kind):
    """Whatever the labels: the Hessian in natural parameters does not depend on them."""
    likelihood, outputs = LIKELIHOODS[kind]
    net = nn.Linear(5, outputs).to(F64)
    x = torch.randn(12, 5, dtype=F64)
    y = likelihood(net(x)).sample()
    fisher = fisher_diagonal(net, likelihood, weights_of(net), x)
    expected = hessian_diagonal(net, likelihood, x, y)
    torch.testing.assert_close(fisher["weight"], expected["weight"])


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_of_a_convolutional_network_it_is_gauss_newton(kind):
    """diag J' L J, J the outputs' Jacobian and L the likelihood's Hessian in them."""
    likelihood, outputs = LIKELIHOODS[kind]
    net = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, outputs)
    ).to(F64)
    x = torch.randn(9, 2, 3, 3, dtype=F64)
    net(x)
    net.eval()
    weights = weights_of(net)
    fisher = fisher_diagonal(net, likelihood, weights, x)
    for name in weights:
        expected = torch.zeros_like(weights[name])
        for one in x:
            output = net(one[None]).detach()
            y = likelihood(output).sample()
            inner = torch.autograd.functional.hessian(
                lambda o, y=y: -likelihood(o).log_prob(y).sum(), output
            ).reshape(outputs, outputs)
            jacobian = torch.autograd.functional.jacobian(
                lambda w, name=name, one=one: functional_call(net, weights | {name: w}, one[None]),
                weights[name],
            ).reshape(outputs, *weights[name].shape)
            expected += torch.einsum("oabcd,op,pabcd->abcd" if jacobian.dim() == 5 else
                                     "oab,op,pab->ab", jacobian, inner, jacobian)  # fmt: skip
        torch.testing.assert_close(fisher[name], expected / len(x))


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_drawn_labels_are_unbiased(kind, monkeypatch):
    """Within 5 standard errors of the sum over labels, estimated from the draws' own spread."""
    likelihood, outputs = LIKELIHOODS[kind]
    net = nn.Linear(3, outputs).to(F64)
    x = torch.randn(1, 3, dtype=F64)
    exact = fisher_diagonal(net, likelihood, weights_of(net), x)["weight"]
    monkeypatch.setattr(curvature, "EXACT", 0)
    drawn = fisher_diagonal(net, likelihood, weights_of(net), x.expand(4000, 3))["weight"]
    # A squared score's standard deviation is at most a few times its mean; 32,000 labels.
    relative = (drawn / exact - 1).abs().max()
    assert 0 < relative < 5 * 3 / 32_000**0.5


def test_chunks_change_nothing(monkeypatch):
    net, x = nn.Linear(5, 4).to(F64), torch.randn(12, 5, dtype=F64)
    whole = fisher_diagonal(net, categorical, weights_of(net), x)["weight"]
    monkeypatch.setattr(curvature, "LARGEST", 20 * 5)
    parts = fisher_diagonal(net, categorical, weights_of(net), x)["weight"]
    torch.testing.assert_close(whole, parts)


def test_a_scale_that_the_network_gives_is_not_taken_for_fixed():
    """N(o, exp(o)^2): the Fisher information of o is 1 / scale^2 + 2, not 1 / scale^2."""
    net, x = nn.Linear(1, 1, bias=False).to(F64), torch.ones(4000, 1, dtype=F64)

    def likelihood(output):
        return pyro.distributions.Normal(output, output.exp()).to_event(1)

    found = fisher_diagonal(net, likelihood, weights_of(net), x)["weight"].item()
    expected = (-2 * net.weight).exp().item() + 2
    assert found == pytest.approx(expected, rel=0.1)


def test_linear_regression_in_closed_form():
    """The posterior's precision is X'X / noise^2 + I / prior^2: here its diagonal, exactly."""
    x = torch.randn(20, 3, dtype=F64)
    net = nn.Linear(3, 1, bias=False).to(F64)
    model = Gaussian(net, 20, likelihood=functools.partial(normal, scale=0.5), scale=0.8)
    guide = DiagonalLaplace(model)
    before = guide.posterior().weights["weight"].stddev
    torch.testing.assert_close(before, torch.full_like(before, 0.8))  # the prior alone
    guide.after_training(x, torch.zeros(20, 1, dtype=F64))
    weight = guide.posterior().weights["weight"]
    precision = x.square().sum(0) / 0.25 + 1 / 0.64
    torch.testing.assert_close(weight.stddev[0] ** -2, precision)
    saliency = 0.5 * precision * weight.loc.square()
    torch.testing.assert_close(weight.log_alpha, -(2 * saliency).log())
    torch.testing.assert_close(0.5 * (weight.loc / weight.stddev).square(), saliency)
    low, middle, high = guide.quantiles([0.1586552539, 0.5, 0.8413447461])["weight"]
    torch.testing.assert_close(high - low, 2 * weight.stddev)
    torch.testing.assert_close(middle, weight.loc)


def test_a_saved_guide_has_its_curvature():
    model = Gaussian(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), 30)
    first, second = DiagonalLaplace(model), DiagonalLaplace(model)
    first.after_training(torch.randn(30, 5), torch.zeros(30))
    assert model.net.training
    second.load_state_dict(first.state_dict())
    for name, weight in first.posterior().weights.items():
        assert weight.stddev.equal(second.posterior().weights[name].stddev)
        assert weight.stddev.lt(0.9 * model.prior(name, weight.loc).scale).any()


def test_another_prior_is_refused():
    with pytest.raises(ValueError, match=r"needs a normal prior.*'weight' is Laplace"):
        DiagonalLaplace(Laplace(nn.Linear(3, 2), 10))
