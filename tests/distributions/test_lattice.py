"""The lattice prior: a distribution over all integers; the rounding: values and gradients."""

import pytest
import torch
from bitsback.distributions import Lattice, Rounded
from torch.distributions.kl import kl_divergence

STEP = torch.tensor(0.25, dtype=torch.float64)
# P(m) of magnitudes 1, 2, 3, 4; beyond them a third of the one before, as 4 is of 3.
MAGNITUDES = torch.tensor([0.5, 0.3, 0.2 * 2 / 3, 0.2 * 2 / 9], dtype=torch.float64)


def prior() -> Lattice:
    generator = torch.Generator().manual_seed(0)
    sides = torch.rand(3, 2, 3, dtype=torch.float64, generator=generator)
    sides[1] += 2
    magnitude = torch.cat([torch.zeros(1, dtype=torch.float64), -MAGNITUDES.log()])
    return Lattice(STEP, -(sides / sides.sum(0)).log(), magnitude)


def test_sums_to_one_over_the_integers():
    levels = torch.arange(-200, 201, dtype=torch.float64).reshape(-1, 1, 1)
    total = prior().log_prob(STEP * levels).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_lines_between_levels_are_no_more_than_a_distribution():
    """The integral of exp(-price) over the reals, by the trapezoidal rule: what noise needs."""
    nodes = torch.linspace(-40, 40, 80 * 50 + 1, dtype=torch.float64).reshape(-1, 1, 1)
    integral = prior().price(nodes).neg().exp().sum(0) / 50
    assert (integral <= 1).all() and (integral > 0.5).all()


def test_gradient_is_the_slope_between_neighbouring_levels():
    p, lattice = prior(), torch.arange(-7.0, 7.0, dtype=torch.float64)
    level = (lattice + 0.3).reshape(-1, 1, 1).expand(-1, 2, 3).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(p.price(level).sum(), level)
    below = lattice.reshape(-1, 1, 1)
    torch.testing.assert_close(gradient, p.price(below + 1) - p.price(below))
    near = 1e-6
    with torch.no_grad():
        differences = (p.price(level + near) - p.price(level - near)) / (2 * near)
    torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-6)


def test_rounding():
    """Value and KL are those of the rounded level; gradients those of the level as it is."""
    p = prior()
    weight = torch.linspace(-0.9, 0.8, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    step = STEP.clone().requires_grad_()
    level = weight / step
    q = Rounded(level, step)
    value, kl = q.rsample(), kl_divergence(q, p)
    assert value.equal(STEP * level.detach().round())
    torch.testing.assert_close(kl, p.price(level.detach().round()))
    to_weight, to_step = torch.autograd.grad(value.sum(), (weight, step), retain_graph=True)
    torch.testing.assert_close(to_weight, torch.ones_like(weight))
    torch.testing.assert_close(to_step, (level.round() - level).sum().detach())
    low = level.detach().floor()
    (slope,) = torch.autograd.grad(kl.sum(), weight)
    torch.testing.assert_close(slope, (p.price(low + 1) - p.price(low)) / STEP)


def test_dither():
    p, level = prior(), torch.full((2, 3), 0.75, dtype=torch.float64)
    q = Rounded(level, STEP, dither=torch.full_like(level, -0.25))
    assert q.rsample().equal(STEP * torch.ones_like(level))
    torch.testing.assert_close(kl_divergence(q, p), p.price(level - 0.25))


def test_draws():
    """Frequencies of levels, to 5 standard errors; the tail's too."""
    torch.manual_seed(0)
    p, count = prior(), 40_000
    draws = (p.sample((count,)) / STEP).round()
    for level in range(-6, 7):
        chance = p.price(torch.full((2, 3), float(level), dtype=torch.float64)).neg().exp()
        error = (chance * (1 - chance) / count).sqrt()
        assert (((draws == level).double().mean(0) - chance).abs() < 5 * error).all(), level
    assert p.expand((4, 2, 3)).sample().shape == (4, 2, 3)


@pytest.mark.parametrize("level", [0.0, 3.0, -5.0, 11.0])
def test_log_density_of_a_point(level):
    value = torch.full((2, 3), level, dtype=torch.float64)
    assert Rounded(value, STEP).log_prob(STEP * value).equal(torch.zeros_like(value))
    torch.testing.assert_close(prior().log_prob(STEP * value), -prior().price(value))
