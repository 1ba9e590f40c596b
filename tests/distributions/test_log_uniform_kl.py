"""KL(normal || log-uniform) against quadrature of Dawson's integral, and its gradients."""

import itertools
import math

import numpy as np
import pytest
import torch
from bitsback.distributions.log_uniform_kl import exact_kl, molchanov_kl
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import dawsn

LOG_ALPHA = np.linspace(-20, 20, 81)
# log alpha -> KL in nats, to four decimals.
TABLE = {-8: 4.6350, -3: 2.1080, -1: 0.9145, 0: 0.4267, 1: 0.1732, 3: 0.0247, 8: 0.0002}
FLOAT64 = 1e-10


def by_quadrature(log_alpha: float) -> float:
    """2 * integral of F from 0 to sqrt(m), m = 1 / (2 alpha), in pieces that quad gets right."""
    end = math.sqrt(0.5 * math.exp(-log_alpha))
    knots = [0.0, *(k for k in (1, 3, 10, 100, 1000, 10000) if k < end), end]
    pieces = [
        quad(dawsn, a, b, epsabs=0, epsrel=1e-13, limit=200)[0]
        for a, b in itertools.pairwise(knots)
    ]
    return 2 * math.fsum(pieces)


EXACT = np.array([by_quadrature(a) for a in LOG_ALPHA])


def at(log_alpha, dtype=torch.float64, log_scale=0.0, sign=1.0):
    """loc and log_scale, shapes that of `log_alpha`, both with gradients."""
    log_alpha = torch.as_tensor(log_alpha, dtype=torch.float64)
    log_scale = torch.full_like(log_alpha, log_scale)
    loc = sign * torch.exp(log_scale - log_alpha / 2)
    return loc.to(dtype).requires_grad_(), log_scale.to(dtype).requires_grad_()


def test_the_oracle_against_a_plain_integral_over_the_weight():
    """KL = E_q log q - E_q log p + constant; differences in alpha need no constant."""

    def minus_expected_log_density(loc):
        def integrand(w):
            q = math.exp(-0.5 * (w - loc) ** 2) / math.sqrt(2 * math.pi)
            return q * math.log(abs(w)) if w else 0.0

        return quad(integrand, -12, 12, points=[0.0, loc], limit=400)[0]

    expected = minus_expected_log_density(2.0) - minus_expected_log_density(0.5)
    assert by_quadrature(-math.log(4.0)) - by_quadrature(-math.log(0.25)) == pytest.approx(
        expected, abs=1e-8
    )


@pytest.mark.parametrize("log_alpha, expected", TABLE.items())
def test_tabulated_values(log_alpha, expected):
    assert exact_kl(*at(log_alpha)).item() == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("log_scale", [-12.0, 0.0, 3.0])
def test_value_float64(log_scale, sign):
    value = exact_kl(*at(LOG_ALPHA, log_scale=log_scale, sign=sign)).detach().numpy()
    np.testing.assert_allclose(value, EXACT, rtol=0, atol=FLOAT64)


def test_value_float32():
    """At the float32 numbers that the function gets, not at those they were rounded from."""
    loc, log_scale = at(np.linspace(-20, 20, 20001), torch.float32)
    error = (exact_kl(loc, log_scale).double() - exact_kl(loc.double(), log_scale.double())).abs()
    scale = exact_kl(loc.double(), log_scale.double()).clamp(min=1)
    assert (error / scale).max() < 1e-6


def test_gradient_by_log_alpha_is_dawsons_integral():
    """dKL / dlog alpha = -sqrt(m) F(sqrt m), and log_scale moves log alpha by 2."""
    loc, log_scale = at(LOG_ALPHA)
    by_loc, by_log_scale = torch.autograd.grad(exact_kl(loc, log_scale).sum(), (loc, log_scale))
    root = np.sqrt(0.5 * np.exp(-LOG_ALPHA))
    np.testing.assert_allclose(by_log_scale / 2, -root * dawsn(root), rtol=0, atol=FLOAT64)
    np.testing.assert_allclose(by_loc * loc.detach() / 2, root * dawsn(root), rtol=0, atol=FLOAT64)


def test_gradcheck():
    loc = torch.tensor([-3.0, -0.5, 0.0, 1e-3, 0.7, 20.0], dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor([-2.0, 0.0, -1.0, 1.0, 2.0, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(exact_kl, (loc, log_scale.requires_grad_()))


def test_gradient_float32():
    double = at(np.linspace(-20, 20, 4001))
    single = [p.detach().float().requires_grad_() for p in double]
    wide = [p.detach().double().requires_grad_() for p in single]
    got = torch.autograd.grad(exact_kl(*single).sum(), single)
    want = torch.autograd.grad(exact_kl(*wide).sum(), wide)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.double(), w, rtol=2e-6, atol=1e-9)


@given(st.floats(-25, 25), st.floats(0, 5), st.sampled_from([torch.float64, torch.float32]))
def test_non_negative_and_falling_in_alpha(log_alpha, step, dtype):
    rounding = {torch.float64: 1e-11, torch.float32: 1e-5}[dtype]
    low, high = exact_kl(*at([log_alpha, log_alpha + step], dtype)).tolist()
    assert high >= -rounding and low >= high - rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [exact_kl, molchanov_kl])
@pytest.mark.parametrize("loc", [0.0, 1e-30, -1e-3, 1.0, 99.0])
@pytest.mark.parametrize("log_scale", [-1000.0, -104.0, -44.0, -1.0, 20.0])
def test_finite_everywhere(function, dtype, loc, log_scale):
    """Also where the scale, or its square, is no number of its type any more."""
    loc = torch.tensor([loc], dtype=dtype, requires_grad=True)
    log_scale = torch.tensor([log_scale], dtype=dtype, requires_grad=True)
    value = function(loc, log_scale)
    value.backward()
    assert all(torch.isfinite(t).all() for t in (value, loc.grad, log_scale.grad))
    assert value >= -1e-11


def test_an_underflowed_scale_counts_as_the_smallest():
    """The value stops there; the gradient goes on as that of log(1 / scale)."""
    loc = torch.tensor([0.5, 0.5])
    log_scale = torch.tensor([-45.0, -200.0], requires_grad=True)
    value = exact_kl(loc, log_scale)
    value.sum().backward()
    assert value[0] == value[1] and value[0] > 38
    torch.testing.assert_close(log_scale.grad, torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_goes_through(dtype):
    """So that whoever watches the loss sees it, instead of an index error."""
    value = exact_kl(torch.tensor([math.nan, 1.0], dtype=dtype), torch.zeros(2, dtype=dtype))
    assert value.isnan().tolist() == [True, False]


def test_molchanov_is_the_published_formula():
    log_alpha = torch.linspace(-8, 8, 101, dtype=torch.float64)
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    published = (  # eq. 14: -KL, without the constant
        k1 * torch.sigmoid(k2 + k3 * log_alpha) - 0.5 * torch.log1p(torch.exp(-log_alpha)) - k1
    )
    torch.testing.assert_close(molchanov_kl(*at(log_alpha)), -published)


def test_molchanov_is_near_the_integral():
    inside = abs(LOG_ALPHA) <= 8
    error = abs(molchanov_kl(*at(LOG_ALPHA)).detach().numpy() - EXACT)[inside]
    assert 0.0090 < error.max() < 0.0094


def test_molchanov_has_no_gradient_outside_its_clip():
    loc, log_scale = at([-8.5, -7.5, 7.5, 8.5])
    molchanov_kl(loc, log_scale).sum().backward()
    assert (log_scale.grad != 0).tolist() == [False, True, True, False]
    assert (loc.grad != 0).tolist() == [False, True, True, False]


def test_second_derivatives():
    loc, log_scale = at(LOG_ALPHA[::8])
    assert torch.autograd.gradgradcheck(exact_kl, (loc, log_scale))
    assert torch.autograd.gradgradcheck(lambda m: exact_kl(m, log_scale.detach()), (loc,))


def test_second_derivatives_in_float32_are_those_in_float64():
    curvatures = []
    for dtype in (torch.float32, torch.float64):
        loc, log_scale = at(LOG_ALPHA[::8], dtype)
        (slope,) = torch.autograd.grad(exact_kl(loc, log_scale).sum(), loc, create_graph=True)
        curvatures.append(torch.autograd.grad(slope.sum(), loc)[0].double())
    torch.testing.assert_close(*curvatures, rtol=1e-4, atol=1e-6)
