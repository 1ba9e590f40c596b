"""The scale mixture: its density against scipy, its KL estimate against quadrature."""

import math

import numpy as np
import pytest
import torch
from bitsback.distributions import ScaleMixture
from bitsback.guides.local_reparameterization import LocalNormal
from bitsback.guides.noise import noise_from
from pyro.distributions import Normal
from scipy import stats
from torch.distributions.kl import kl_divergence

PI, WIDE, NARROW = 0.3, 0.8, 0.02
# Within the narrow component, between the two, and within the wide one.
LOCS, SCALES = [0.0, 0.01, 0.06, -0.5, 0.3], [0.02, 0.03, 0.05, 0.05, 0.004]
SIGMAS = 5  # of seeded draws: another seed fails with probability 6e-7 for each number compared


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)


def density(w):
    return PI * stats.norm.pdf(w, 0, WIDE) + (1 - PI) * stats.norm.pdf(w, 0, NARROW)


def quadrature(loc: float, scale: float) -> float:
    """KL(N(loc, scale^2) || p) in nats, by the trapezoidal rule."""
    w = np.linspace(loc - 12 * scale, loc + 12 * scale, 20_001)
    log_q = stats.norm.logpdf(w, loc, scale)
    return np.trapezoid(np.exp(log_q) * (log_q - np.log(density(w))), w)


def test_log_prob_is_scipys():
    value = torch.tensor([0.0, 1e-3, -0.02, 0.07, 0.5, -3.0])
    expected = torch.from_numpy(np.log(density(value.numpy())))
    torch.testing.assert_close(ScaleMixture(PI, WIDE, NARROW, (6,)).log_prob(value), expected)


def test_it_integrates_to_one():
    p = ScaleMixture(PI, WIDE, NARROW)
    w = torch.linspace(-8, 8, 400_001)
    assert torch.trapezoid(p.log_prob(w).exp(), w).item() == pytest.approx(1, abs=1e-9)


def test_far_out_nothing_underflows():
    """In float32 both densities are 0 at 60 wide standard deviations; their logarithm is not."""
    value = torch.tensor(48.0, dtype=torch.float32, requires_grad=True)
    log_prob = ScaleMixture(PI, WIDE, NARROW).log_prob(value)
    log_prob.backward()
    expected = math.log(PI) + stats.norm.logpdf(48.0, 0, WIDE)
    assert log_prob.item() == pytest.approx(expected, rel=1e-6)
    assert value.grad.item() == pytest.approx(-48.0 / WIDE**2, rel=1e-6)


def test_samples_follow_the_density():
    """Kolmogorov-Smirnov at 20,000 draws; seeded, else it fails once in a thousand."""
    draws = ScaleMixture(PI, WIDE, NARROW, (4,)).sample((5_000,))
    assert draws.shape == (5_000, 4)

    def cdf(w):
        return PI * stats.norm.cdf(w, 0, WIDE) + (1 - PI) * stats.norm.cdf(w, 0, NARROW)

    assert stats.kstest(draws.flatten().numpy(), cdf).pvalue > 1e-3


def test_samples_take_dtype_and_device():
    p = ScaleMixture(PI, WIDE, NARROW, (3,), torch.empty(0, dtype=torch.float32))
    assert p.sample().dtype == torch.float32
    assert p.expand((2, 3)).sample().dtype == torch.float32 and p.expand((2, 3)).pi == PI


@pytest.mark.parametrize("local", [True, False])
def test_the_mean_of_the_kl_estimate_is_the_kl(local):
    """Within 5 standard errors of 4,000 estimates, and these are small."""
    loc, scale = torch.tensor(LOCS), torch.tensor(SCALES)
    q = LocalNormal(loc, scale.log()) if local else Normal(loc, scale)
    p = ScaleMixture(PI, WIDE, NARROW, (5,))
    estimates = torch.stack([kl_divergence(q, p) for _ in range(4_000)])
    exact = torch.tensor([quadrature(*pair) for pair in zip(LOCS, SCALES, strict=True)])
    error = estimates.std(0) / math.sqrt(4_000)
    assert ((estimates.mean(0) - exact).abs() <= SIGMAS * error + 1e-9).all()
    assert (error < 0.02).all()
    assert error[-1] < 1e-9  # 15 narrow scales away: exact


def test_the_mean_of_its_gradient_is_the_gradient():
    """Of the KL, by differences of the quadrature."""
    step, count = 1e-4, 2_000
    loc, scale = torch.tensor(LOCS), torch.tensor(SCALES)
    loc_n, log_scale_n = (t.expand(count, 5).clone().requires_grad_() for t in (loc, scale.log()))
    p = ScaleMixture(PI, WIDE, NARROW, (count, 5))
    kl_divergence(LocalNormal(loc_n, log_scale_n), p).sum().backward()
    for k in range(5):
        m, s = LOCS[k], SCALES[k]
        by_loc = (quadrature(m + step, s) - quadrature(m - step, s)) / (2 * step)
        up, down = quadrature(m, s * math.exp(step)), quadrature(m, s * math.exp(-step))
        for grad, exact in ((loc_n.grad, by_loc), (log_scale_n.grad, (up - down) / (2 * step))):
            error = grad[:, k].std().item() / math.sqrt(count)
            assert abs(grad[:, k].mean().item() - exact) < SIGMAS * error + 1e-5


def test_each_estimate_draws_anew_from_the_guides_noise():
    """Not the noise that a layer has used for the same weight, nor the weight's own draw."""
    shapes = []

    def source(shape, like):
        shapes.append(tuple(shape))
        return torch.randn(shape)

    q = LocalNormal(torch.zeros(2, 3), torch.zeros(2, 3))
    with noise_from(source):
        kl_divergence(q, ScaleMixture(PI, WIDE, NARROW, (2, 3)))
        kl_divergence(q, ScaleMixture(PI, WIDE, NARROW, (2, 3)))
    assert shapes == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((0.0, 1.0, 0.1), "pi, the wide component's share, must be within"),
        ((1.0, 1.0, 0.1), "pi, the wide component's share, must be within"),
        ((0.5, 0.1, 0.1), "0 < sigma2 < sigma1 must hold"),
        ((0.5, 1.0, 0.0), "0 < sigma2 < sigma1 must hold"),
    ],
)
def test_bounds(wrong, message):
    with pytest.raises(ValueError, match=message):
        ScaleMixture(*wrong)
