"""The product of two half-Cauchy variables against quadrature and Monte-Carlo."""

import math

import pytest
import torch
from bitsback.distributions import exceeds, product_log_prob, tau0_for_units
from scipy.integrate import quad

SIGMAS = 5  # of a seeded mean: another seed fails with probability 6e-7 for each level


def half_cauchy(x: float, scale: float) -> float:
    return 2 / (math.pi * scale * (1 + (x / scale) ** 2))


@pytest.mark.parametrize("value", [1e-6, 0.03, 0.2999, 0.3, 0.5, 4.0, 1e5])
def test_density_is_the_convolution(value):
    """p(x) = int p(z) p(x / z) / z dz, in u = log z."""
    scale = 0.3

    def integrand(u):
        z = math.exp(u)
        return half_cauchy(z, 1.0) * half_cauchy(value / z, scale)

    middle = math.log(value / scale) / 2
    expected = quad(integrand, middle - 60, middle + 60, points=[middle], limit=500, epsabs=0)[0]
    assert math.exp(product_log_prob(value, scale)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("a", [-30.0, -3.0, -0.9, -0.1, 0.0, 0.1, 0.85, 0.9, 3.0, 30.0])
def test_probability_is_the_integral_of_the_density(a):
    """P(t > a) of t = log(z s / scale), whose density is e^t p(e^t); relative, in the tail too."""

    def density(t):
        return math.exp(product_log_prob(math.exp(t), 1.0) + t)

    expected = quad(density, a, a + 80, points=[0.0] if a < 0 else None, limit=500, epsabs=0)[0]
    assert exceeds(2.5 * math.exp(a), 2.5) == pytest.approx(expected, rel=1e-8)


def test_probability_of_draws():
    cauchy = torch.distributions.HalfCauchy
    z, s = cauchy(1.0).sample((200_000,)), cauchy(1e-3).sample((200_000,))
    for level in (1e-6, 1e-4, 1e-3, 1e-2, 1.0):
        p = exceeds(level, 1e-3)
        stderr = math.sqrt(p * (1 - p) / len(z))
        assert abs((z * s > level).double().mean().item() - p) < SIGMAS * stderr


def test_both_series_agree_where_they_meet():
    a = 2 * math.atanh(math.sqrt(2) - 1)
    below, above = (exceeds(math.exp(a * f), 1.0) for f in (1 - 1e-12, 1 + 1e-12))
    assert below == pytest.approx(above, rel=1e-10)
    assert exceeds(1.0, 1.0) == 0.5


@pytest.mark.parametrize("expected", [1e-3, 1.0, 50.0, 99.9])
def test_tau0_for_units(expected):
    tau0 = tau0_for_units(expected, 100, 0.01)
    assert 100 * exceeds(0.01, tau0) == pytest.approx(expected, rel=1e-9)
    assert tau0_for_units(expected, 100, 1.0) == pytest.approx(100 * tau0)
    assert tau0_for_units(50.0, 100, 0.7) == pytest.approx(0.7)


def test_errors():
    for expected in (0, 100, float("nan")):
        with pytest.raises(ValueError, match="below units=100"):
            tau0_for_units(expected, 100, 0.01)
    with pytest.raises(ValueError, match="level must be positive"):
        tau0_for_units(5, 100, 0.0)
    for call in (exceeds, product_log_prob):
        with pytest.raises(ValueError, match="must be positive"):
            call(-1.0, 1.0)
