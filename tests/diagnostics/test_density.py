import bitsback
import pyro
import pyro.distributions as dist
import pytest
import torch
from bitsback.diagnostics.density import LogDensity
from torch import nn

from .problem import D, N, Regression


class Scaled(bitsback.models.Gaussian):
    """weight = scale * base with a scale in (0, 2): a constrained site."""

    def weight(self, name, initial):
        scale = pyro.sample(f"{name}.scale", dist.Uniform(initial.new_zeros(()), 2.0))
        base = pyro.sample(f"{name}.base", dist.Normal(torch.zeros_like(initial), 1.0).to_event(2))
        return pyro.deterministic(name, scale * base)


def scaled():
    problem = Regression()
    model = Scaled(nn.Linear(D, 1, bias=False).double(), N, likelihood="normal")
    return problem, LogDensity(model, problem.x, problem.y)


def test_the_prior_integrates_to_one_in_unconstrained_coordinates():
    """Over the scale's coordinate at a fixed base: what is left is the base's own density."""
    _, density = scaled()
    base = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    grid = torch.linspace(-30, 30, 601, dtype=torch.float64)
    rows = torch.cat([grid[:, None], base.expand(601, D)], 1)
    _, log_prior, _ = density.batch(rows, power=0.0)
    integral = (torch.logsumexp(log_prior, 0) + torch.tensor(60 / 600).log()).item()
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(base).sum().item()
    assert integral == pytest.approx(expected, abs=1e-6)


def test_batch_is_the_rows_one_by_one_with_their_gradients():
    problem, density = scaled()
    rows = torch.randn(4, 1 + D, dtype=torch.float64)
    gradient, value, log_likelihood = density.batch(rows, power=0.3)
    for n, row in enumerate(rows):
        row = row.clone().requires_grad_()
        log_prior, likelihood = density.terms(row)
        total = log_prior + 0.3 * likelihood
        assert value[n].item() == pytest.approx(total.item())
        assert log_likelihood[n].item() == pytest.approx(likelihood.item())
        torch.testing.assert_close(gradient[n], torch.autograd.grad(total, row)[0])
        w = 2 * torch.sigmoid(row[0]) * row[1:]
        by_hand = torch.distributions.Normal(problem.x @ w, 1.0).log_prob(problem.y[:, 0]).sum()
        assert likelihood.item() == pytest.approx(by_hand.item())


def test_flat_and_back():
    _, density = scaled()
    values = {
        "weight.scale": torch.tensor(1.0, dtype=torch.float64),
        "weight.base": torch.arange(3.0, dtype=torch.float64)[None],
    }
    torch.testing.assert_close(
        density.flat(values), torch.tensor([0.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    )
    assert density.dim == 1 + D and density.prior_draw().shape == (1 + D,)


def test_discrete_sites_are_refused():
    class Gated(bitsback.models.Gaussian):
        def weight(self, name, initial):
            gate = pyro.sample(f"{name}.gate", dist.Bernoulli(initial.new_tensor(0.5)))
            return gate * super().weight(name, initial)

    problem = Regression()
    model = Gated(nn.Linear(D, 1, bias=False).double(), N, likelihood="normal")
    with pytest.raises(ValueError, match=r"'weight\.gate' is discrete"):
        LogDensity(model, problem.x, problem.y)
