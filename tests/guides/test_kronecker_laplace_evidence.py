"""The evidence of KroneckerLaplace against quadrature, and the scale that it chooses."""

import math

import pytest
import torch
from bitsback.guides import (
    KroneckerLaplace,
)
from bitsback.models import (
    Gaussian,
    Laplace,
    ScaleMixture,
)
from torch import nn

from .laplace import F64, NOISE, NORMAL, PRIOR, Regression, fisher, found


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(F64)


def newton(log_joint, w: torch.Tensor) -> torch.Tensor:
    """Where a concave function of a few numbers is largest."""
    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(log_joint, w)
        w = w - torch.linalg.solve(torch.autograd.functional.hessian(log_joint, w), gradient)
    return w


def quadrature(log_joint, at: torch.Tensor, width: float, steps: int) -> float:
    """log of the integral of exp(log_joint) over a box about a point of one or two numbers."""
    axis = torch.linspace(-width, width, steps)
    grid = torch.cartesian_prod(*[axis] * len(at)).reshape(-1, len(at)) + at
    return (log_joint(grid).logsumexp(0) + len(at) * math.log(2 * width / (steps - 1))).item()


def logistic(count: int):
    """Two weights, inputs of -1 and 1, labels by chance: model at the maximum, log joint."""
    torch.manual_seed(3)
    x = torch.randint(0, 2, (count, 2)) * 2.0 - 1
    y = torch.bernoulli((x @ torch.tensor([0.6, -0.3])).sigmoid())

    def log_joint(w: torch.Tensor) -> torch.Tensor:
        logits = w @ x.T
        fit = (y * logits - nn.functional.softplus(logits)).sum(-1)
        prior = -0.5 * (w / PRIOR).square().sum(-1) - 2 * math.log(PRIOR * math.sqrt(2 * math.pi))
        return fit + prior

    net = nn.Linear(2, 1, bias=False)
    net.weight.data = newton(log_joint, torch.zeros(2))[None]
    model = Gaussian(net, num_data=count, likelihood="bernoulli", scale=PRIOR)
    return model, x, y[:, None], log_joint


@pytest.mark.parametrize("count, error", [(50, 0.02), (500, 0.005)])
def test_evidence_against_quadrature(count, error):
    """Inputs of -1 and 1: x x^T varies little, so that the factors are nearly exact."""
    model, x, y, log_joint = logistic(count)
    guide = KroneckerLaplace(model)
    guide.after_training(x)
    expected = quadrature(log_joint, model.initial_weights()["weight"][0], 2.0, 161)
    assert guide.log_evidence(x, y) == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("prior", [Laplace, ScaleMixture])
def test_evidence_under_other_priors_is_a_lower_bound(prior):
    """For normal noise the likelihood is quadratic, and the prior is bounded from below."""
    options = {"scale": 0.3} if prior is Laplace else {"sigma1": 1.0, "sigma2": 0.3}
    torch.manual_seed(2)
    x = torch.randn(6, 1)
    y = 0.4 * x + NOISE * torch.randn(6, 1)
    net = nn.Linear(1, 1, bias=False)
    model = prior(net, num_data=6, likelihood=NORMAL, **options)

    def log_joint(w: torch.Tensor) -> torch.Tensor:
        fit = torch.distributions.Normal(w * x[:, 0], NOISE).log_prob(y[:, 0]).sum(-1)
        return fit + model.prior("weight", w).log_prob(w).sum(-1)

    grid = torch.linspace(-2, 2, 4001)
    at = grid[log_joint(grid[:, None]).argmax()]
    model.initial_weights()["weight"].fill_(at)
    guide = KroneckerLaplace(model)
    guide.after_training(x)
    exact = quadrature(log_joint, at[None], 4.0, 4001)
    evidence = guide.log_evidence(x, y)
    assert exact - 0.3 < evidence < exact


def test_a_varying_precision_is_added_by_its_diagonal_in_the_eigenbasis():
    net, x = nn.Linear(3, 2, bias=False), torch.randn(8, 3)
    guide = found(net, x, NORMAL, model=Laplace)
    weight = net.weight.detach()
    prior = 1 / (guide._model[0].prior("weight", weight).scale * weight.abs())
    exact = fisher(net, NORMAL, "weight", x) + prior.flatten().diag()
    q = guide.density("weight")
    basis = torch.kron(q.left[0], q.right[0])
    torch.testing.assert_close(q.precision.flatten(), (basis.T @ exact @ basis).diagonal())
    assert q.precision.log().sum() >= torch.logdet(exact)


def test_best_scale_is_where_the_evidence_is_largest():
    problem = Regression()
    best = problem.guide().best_scale()
    net = problem.model.trained()

    def evidence(scale: float) -> float:
        model = Gaussian(net, num_data=20, likelihood=NORMAL, scale=scale)
        guide = KroneckerLaplace(model)
        guide.after_training(problem.x)
        return guide.log_evidence(problem.x, problem.y)

    assert evidence(best) > max(evidence(0.99 * best), evidence(1.01 * best))


def test_best_scale_and_training_find_the_scale_of_the_exact_evidence():
    """Scale and maximum in turn (MacKay) end where log p(y) itself is largest."""
    scale = PRIOR
    for _ in range(12):
        scale = Regression(scale).guide().best_scale()
    evidence = [Regression(s).log_evidence for s in (0.98 * scale, scale, 1.02 * scale)]
    assert evidence[1] > max(evidence[0], evidence[2])
