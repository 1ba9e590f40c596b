"""RowNormal: an exact bound, exact activations of dense layers, honest draws elsewhere."""

import math

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal, RowNormal
from bitsback.guides.noise import noise_from
from bitsback.guides.row_normal import LocalRowNormal
from bitsback.models import Gaussian, LogUniform
from bitsback.training import fit, noise_library
from bitsback.training.options import Options
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from ..methods.test_registry import NETS, X, Y

needs_compiler = pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")


def spread(guide):
    """The guide, at parameters that are not those it starts from."""
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.5 * torch.randn(p.shape))
    return guide


def constant(value: float):
    return noise_from(lambda shape, like: torch.full(shape, value, dtype=like.dtype))


def row_normal(outputs: int, inputs: int, lazy: bool = True) -> LocalRowNormal:
    parts = torch.randn(outputs, inputs), torch.randn(outputs, inputs) / 3
    parts = (*parts, torch.randn(outputs, inputs, inputs))
    return LocalRowNormal(*(p.double().requires_grad_() for p in parts), lazy=lazy)


@pytest.mark.parametrize(("kind", "loss"), [("conv", TraceMeanField_ELBO), ("batchnorm", ELBO)])
def test_trains_compresses_and_loads(kind, loss, tmp_path):
    model = Gaussian(NETS[kind](), num_data=20)
    guide = RowNormal(model)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.01}), loss())
    losses = [svi.step(X, Y) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert all(p.any() for name, p in guide.named_parameters() if name.startswith("lower."))
    result = bitsback.compress(model.trained(), guide.posterior(), validation=(X, Y))
    result.save(tmp_path / "net.bb")
    assert bitsback.load(tmp_path / "net.bb")(X).equal(result.network(X))


@pytest.mark.parametrize(
    "step", ["eager", pytest.param("compiled", marks=[needs_compiler, pytest.mark.slow])]
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
def test_fit_trains_it(step):
    model = Gaussian(NETS["mlp"](), num_data=20)
    guide = RowNormal(model)
    epochs = fit(model, guide, (X, Y), options=Options(epochs=3, lr=0.01, step=step))
    assert epochs[-1].kl < epochs[0].kl


def test_starts_as_the_factorised_normal():
    """At no correlation its bound and that guide's are the same number, noise and all."""
    model = Gaussian(NETS["mlp"](), num_data=20)
    losses = []
    for kind in (MeanFieldNormal, RowNormal):
        pyro.set_rng_seed(3)
        losses.append(ELBO().differentiable_loss(model, kind(model, init_scale=0.2), X, Y))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("inputs", [(4,), (7, 4)], ids=["one", "batch"])
def test_activations_have_their_exact_moments(inputs):
    q, x, bias = row_normal(3, 4), torch.randn(inputs).double(), torch.randn(3).double()
    with constant(0.0):
        mean = F.linear(x, q.rsample(), bias)
    with constant(1.0):
        stddev = F.linear(x, q.rsample(), bias) - mean
    covariance = q.factor @ q.factor.mT
    exact = torch.einsum("...i,rij,...j->...r", x, covariance, x)
    torch.testing.assert_close(mean, F.linear(x, q.loc, bias))
    torch.testing.assert_close(stddev.square(), exact)


def test_gradients_of_expected_squares_are_exact():
    """Noise of -1 and of +1 average to the expectation, in closed form, of squared outputs."""
    q, x = row_normal(3, 4), torch.randn(6, 4).double()
    mean = F.linear(x, q.loc)
    covariance = q.factor @ q.factor.mT
    exact = mean.square().sum() + torch.einsum("ni,rij,nj->", x, covariance, x)
    estimate = 0.0
    for noise in (-1.0, 1.0):
        with constant(noise):
            estimate = estimate + F.linear(x, q.rsample()).square().sum() / 2
    parameters = (q.loc, q.log_scale, q.lower)
    torch.testing.assert_close(
        torch.autograd.grad(estimate, parameters), torch.autograd.grad(exact, parameters)
    )


def test_both_estimators_have_one_expectation():
    """A non-linear loss of one example, by activations and by weights: 5 standard errors."""
    x, means, errors = torch.randn(1, 4).double(), [], []
    q = row_normal(3, 4)
    with torch.no_grad():
        local = F.linear(x.expand(20_000, 4), q.rsample())
        honest = (q.rsample((20_000,)) * x).sum(-1)
    for outputs in (local, honest):
        losses = outputs.logsumexp(-1)
        means.append(losses.mean().item())
        errors.append(losses.std().item() / math.sqrt(len(losses)))
    assert abs(means[0] - means[1]) < 5 * math.hypot(*errors)


LAYERS = {
    "conv": (lambda x, w: F.conv2d(x, w), (2, 3, 2, 2), (4, 3, 5, 5)),
    "conv of one example": (lambda x, w: F.conv1d(x, w, stride=2), (3, 2, 2), (2, 5)),
    "sequence": (lambda x, w: F.linear(x, w), (3, 4), (2, 6, 4)),
    "other": (lambda x, w: x @ w.T, (3, 4), (2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_elsewhere_one_honest_draw(name):
    call, shape, inputs = LAYERS[name]
    n = math.prod(shape[1:])
    q = LocalRowNormal(torch.randn(shape), torch.randn(shape), torch.randn(shape[0], n, n))
    weight, x = q.rsample(), torch.randn(inputs)
    output = call(x, weight)
    assert type(output) is torch.Tensor
    assert output.equal(call(x, weight.draw())) and output.equal(call(x, weight))


def test_without_local_reparameterisation_a_draw_is_a_tensor():
    draws = RowNormal(Gaussian(NETS["conv"](), 20), local_reparameterization=False)()
    assert {type(w) for w in draws.values()} == {torch.Tensor}


def test_two_layers_may_not_share_an_unseen_draw():
    weight, x = row_normal(4, 4).rsample(), torch.randn(2, 4).double()
    with pytest.raises(RuntimeError, match="two different draws"):
        F.linear(F.linear(x, weight), weight)


def test_quantiles_are_those_of_normal_marginals():
    guide = spread(RowNormal(Gaussian(NETS["conv"](), 20), init_scale=0.3))
    levels = guide.quantiles([0.1586553, 0.5, 0.8413447])
    for name, weight in guide.posterior().weights.items():
        alpha = (weight.stddev / weight.loc).square().log()
        torch.testing.assert_close(weight.log_alpha, alpha, rtol=1e-4, atol=1e-4)
        low, middle, high = levels[name]
        torch.testing.assert_close(middle, guide.median()[name])
        torch.testing.assert_close(high - low, 2 * weight.stddev, rtol=1e-4, atol=1e-5)


def test_start_from_another_posterior():
    model = Gaussian(NETS["mlp"](), 20)
    first, second = spread(MeanFieldNormal(model)), spread(RowNormal(model))
    second.start_from(first.posterior())
    for name, weight in first.posterior().weights.items():
        torch.testing.assert_close(second.posterior().weights[name].loc, weight.loc)
        torch.testing.assert_close(second.posterior().weights[name].stddev, weight.stddev)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (torch.nn.Linear(3, 2), r"'1\.weight' has shape \(.*\) here and does not exist there"),
        (
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, 1)),
            r"'1\.weight' has shape .* here and has",
        ),
    ],
)
def test_does_not_start_from_another_networks_posterior(other, said):
    guide = RowNormal(Gaussian(NETS["mlp"](), 20))
    with pytest.raises(ValueError, match=said):
        guide.start_from(MeanFieldNormal(Gaussian(other, 20)).posterior())


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"needs a normal prior.*LogUniform: use models.Gaussian"):
        RowNormal(LogUniform(NETS["mlp"](), 20))
    with pytest.raises(ValueError, match="init_scale must be positive; got 0"):
        RowNormal(Gaussian(NETS["mlp"](), 20), init_scale=0)


def test_is_the_exact_posterior_of_a_linear_model():
    """There the bound is the evidence, log N(y; 0, 1 + x x^T), to 5 standard errors."""
    torch.manual_seed(0)
    x = torch.randn(40, 1) + 0.1 * torch.randn(40, 2)
    y = x.sum(1, keepdim=True) + torch.randn(40, 1)
    model = Gaussian(nn.Linear(2, 1, bias=False), 40, scale=1.0, likelihood="normal")
    guide = RowNormal(model)
    covariance = torch.linalg.inv(x.T @ x + torch.eye(2))
    factor = torch.linalg.cholesky(covariance)
    with torch.no_grad():
        guide.get_parameter("loc.weight").copy_((covariance @ x.T @ y).T)
        guide.get_parameter("log_scale.weight").copy_(factor.diag().log()[None])
        guide.get_parameter("lower.weight").copy_(factor / factor.diag()[:, None] - torch.eye(2))
    weight = guide.posterior().weights["weight"]
    torch.testing.assert_close(weight.stddev[0], covariance.diag().sqrt())
    bounds = torch.tensor([-ELBO().loss(model, guide, x, y) for _ in range(300)])
    error = bounds.std().item() / math.sqrt(300)
    evidence = MultivariateNormal(torch.zeros(40), torch.eye(40) + x @ x.T).log_prob(y[:, 0])
    assert error < 0.1 and abs(bounds.mean() - evidence) < 5 * error
    with torch.no_grad():
        guide.get_parameter("lower.weight").zero_()  # what mean field would say
    assert -ELBO().loss(model, guide, x, y) < evidence - 1
