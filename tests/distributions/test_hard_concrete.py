"""Gates against quadrature over their noise, the KL against enumeration of the two events."""

import math

import pytest
import torch
from bitsback.distributions import GatePrior, HardConcrete
from bitsback.distributions.hard_concrete import RELAXATIONS
from torch.distributions import Bernoulli, kl_divergence

LOG_ALPHA = torch.tensor([-4.0, -1.6, -0.3, 0.0, 1.0, 2.5, 4.5], dtype=torch.float64)


def of_grid(gate: HardConcrete, count: int = 200_001) -> torch.Tensor:
    """Gates at the midpoints of `count` equally likely cells of the noise."""
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return gate.of_noise(torch.special.ndtri(u)[:, None])


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_moments_and_inclusion_by_quadrature_over_the_noise(relaxation):
    gate = HardConcrete(LOG_ALPHA, relaxation)
    z = of_grid(gate).detach()
    torch.testing.assert_close(gate.mean, z.mean(0), atol=5e-5, rtol=0)
    torch.testing.assert_close(gate.variance, z.var(0), atol=5e-5, rtol=0)
    border = 0.5 if relaxation == "concrete" else 0.0
    torch.testing.assert_close(gate.inclusion, (z > border).double().mean(0), atol=5e-5, rtol=0)
    assert ((z >= 0) & (z <= 1)).all() and not gate.median.isnan().any()


@pytest.mark.parametrize("relaxation", ["hard-concrete", "concrete"])
def test_cdf_by_quadrature_over_the_noise(relaxation):
    gate = HardConcrete(LOG_ALPHA, relaxation)
    z = of_grid(gate)
    for value in (0.02, 0.3, 0.8, 0.99):
        expected = (z <= value).double().mean(0)
        torch.testing.assert_close(gate.cdf(value), expected, atol=5e-5, rtol=0)


def test_published_formulas():
    """P(z > 0) = sigmoid(log_alpha + 1.5986); exactly 0 and 1 are both probable at 0."""
    gate = HardConcrete(LOG_ALPHA)
    torch.testing.assert_close(gate.inclusion, torch.sigmoid(LOG_ALPHA + 1.5986), atol=1e-5, rtol=0)
    z = HardConcrete(torch.zeros(20_000)).rsample()
    # Binomial standard error below 0.0036; four of them fail once in 15,000 runs of other seeds.
    closed = float(torch.sigmoid(torch.tensor(-1.5986)))
    assert (z == 0).float().mean().item() == pytest.approx(closed, abs=0.0144)
    assert (z == 1).float().mean().item() == pytest.approx(closed, abs=0.0144)


@pytest.mark.parametrize("cost", [-1.0, 0.0, 0.5, 30.0])
def test_kl_is_that_of_the_two_events(cost):
    q, p = HardConcrete(LOG_ALPHA), GatePrior(torch.full_like(LOG_ALPHA, cost), entropy=True)
    prior = Bernoulli(logits=torch.full_like(LOG_ALPHA, -cost))
    expected = kl_divergence(Bernoulli(logits=q.log_odds), prior)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    assert (kl_divergence(q, p) >= 0).all()
    published = kl_divergence(q, GatePrior(torch.full_like(LOG_ALPHA, cost)))
    torch.testing.assert_close(published, cost * q.inclusion)


def test_the_kl_is_least_at_the_prior_and_the_published_term_at_closed():
    log_alpha = torch.linspace(-6, 6, 241, dtype=torch.float64)
    q = HardConcrete(log_alpha)
    cost = torch.full_like(log_alpha, 1.0)
    best = kl_divergence(q, GatePrior(cost, entropy=True)).argmin()
    assert q.inclusion[best].item() == pytest.approx(1 / (1 + math.e), abs=0.01)
    assert kl_divergence(q, GatePrior(cost)).argmin() == 0


def slope(gate_of, f, log_alpha: float) -> float:
    """d E[f(z)] / d log_alpha by the pathwise gradient, over a grid of the noise."""
    leaf = torch.tensor([log_alpha], dtype=torch.float64, requires_grad=True)
    f(of_grid(gate_of(leaf))).mean().backward()
    return leaf.grad.item()


@pytest.mark.parametrize("log_alpha", [-3.0, 0.2, 2.0])
def test_pathwise_gradients_are_unbiased_but_for_straight_through(log_alpha):
    def f(z):
        return (z - 0.3) ** 2

    def exact(relaxation, h=1e-4):
        at = [log_alpha - h, log_alpha + h]
        low, high = (
            f(of_grid(HardConcrete(torch.tensor([a], dtype=torch.float64), relaxation), 2_000_001))
            for a in at
        )
        return ((high.mean() - low.mean()) / (2 * h)).item()

    for relaxation in ("hard-concrete", "concrete"):
        found = slope(lambda a, r=relaxation: HardConcrete(a, r), f, log_alpha)
        assert found == pytest.approx(exact(relaxation), abs=2e-3)
    # Straight-through: E f = 0.09 + 0.4 sigmoid(log_alpha), whose slope it gets wrong.
    sigmoid = 1 / (1 + math.exp(-log_alpha))
    true = 0.4 * sigmoid * (1 - sigmoid)
    found = slope(lambda a: HardConcrete(a, "straight-through"), f, log_alpha)
    assert abs(found - true) > 0.05 * true


def test_no_gate_is_shut_for_good():
    """At the guide's lower bound some draws are open and have a gradient."""
    leaf = torch.tensor([-math.log(100.0)], dtype=torch.float64, requires_grad=True)
    z = of_grid(HardConcrete(leaf))
    z.mean().backward()
    assert (z > 0).double().mean().item() == pytest.approx(0.0471, abs=1e-3)
    assert leaf.grad.item() > 1e-3


def test_there_is_no_log_density_to_train_on():
    q, p = HardConcrete(LOG_ALPHA.clone().requires_grad_()), GatePrior(torch.zeros(7))
    z = torch.tensor([0.0, 0.5, 1.0, 0.0, 0.1, 0.0, 1.0], dtype=torch.float64)
    events = torch.where(z > 0, q.inclusion.log(), (1 - q.inclusion).log())
    torch.testing.assert_close(q.log_prob(z), events)
    with pytest.raises(NotImplementedError, match=r"bitsback\.ELBO"):
        q.log_prob(z).sum().backward()
    with pytest.raises(NotImplementedError, match="cannot be sampled"):
        p.sample()


def test_shapes_and_bad_options():
    gate = HardConcrete(torch.zeros(3)).expand((2, 3))
    assert gate.rsample((5,)).shape == (5, 2, 3) and gate.mean.shape == (2, 3)
    with pytest.raises(ValueError, match="hard-concrete, concrete, straight-through"):
        HardConcrete(torch.zeros(1), "soft")
