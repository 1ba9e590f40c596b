"""The mixture of Gaussians: density and gradients against scipy and autograd, codes, merging."""

import numpy as np
import pytest
import torch
from bitsback.distributions import GaussianMixture
from pyro.distributions import Delta
from scipy import special, stats
from torch.distributions.kl import kl_divergence

LOCS = torch.tensor([0.0, -0.4, 0.1, 0.35], dtype=torch.float64)
SCALES = torch.tensor([0.02, 0.05, 0.01, 0.2], dtype=torch.float64)
PROPORTIONS = torch.tensor([0.9, 0.02, 0.05, 0.03], dtype=torch.float64)
VALUES = torch.tensor([[0.0, -0.4, 0.05], [0.2, 1.7, -3.0]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)


def mixture(shape=(), locs=LOCS, scales=SCALES, proportions=PROPORTIONS):
    return GaussianMixture(locs, scales.log(), proportions.log(), shape)


def parts(values: np.ndarray) -> np.ndarray:
    """Log of each component's weighted density, the components last."""
    each = stats.norm.logpdf(values[..., None], LOCS.numpy(), SCALES.numpy())
    return each + np.log(PROPORTIONS.numpy())


def test_log_prob_is_scipys():
    expected = torch.from_numpy(special.logsumexp(parts(VALUES.numpy()), -1))
    torch.testing.assert_close(mixture((2, 3)).log_prob(VALUES), expected)


def test_gradients():
    inputs = [t.clone().requires_grad_() for t in (VALUES, LOCS, SCALES.log(), PROPORTIONS.log())]
    assert torch.autograd.gradcheck(
        lambda v, m, s, p: GaussianMixture(m, s, p).log_prob(v) * VALUES, inputs
    )


def test_far_out_nothing_underflows():
    """In float32 every density is 0 here; the nearest in its own scales counts alone."""
    value = torch.tensor([40.0], requires_grad=True, dtype=torch.float32)
    p = mixture((1,), *(t.float() for t in (LOCS, SCALES, PROPORTIONS)))
    log_prob = p.log_prob(value)
    log_prob.sum().backward()
    assert log_prob.item() == pytest.approx(parts(np.array([40.0])).max(), rel=1e-6)
    assert value.grad.item() == pytest.approx(-(40 - 0.35) / 0.2**2, rel=1e-5)


def test_divergence_of_a_point_is_minus_log_density():
    """By Pyro's rule for (Delta, anything); its gradient moves a point to its component."""
    point = torch.tensor([0.105, -0.3, 0.008], requires_grad=True)
    kl = kl_divergence(Delta(point).to_event(1), mixture((3,)).to_event(1))
    assert kl.item() == pytest.approx(-special.logsumexp(parts(point.detach().numpy()), -1).sum())
    kl.backward()
    step = -point.grad.sign()  # of descent
    assert step.tolist() == [-1, -1, -1]  # to 0.1, to -0.4, to 0


def test_codes_are_the_most_responsible_components():
    values = torch.linspace(-0.8, 1.0, 1001)
    expected = torch.from_numpy(parts(values.numpy()).argmax(-1))
    codes = mixture((1001,)).codes(values)
    assert codes.dtype == torch.int64 and codes.equal(expected)
    assert set(codes.tolist()) == {0, 1, 2, 3}
    # 0.06 is nearer to 0.1 than to 0 in no other sense than distance: proportions and scales rule.
    assert mixture().codes(torch.tensor([0.045])).item() == 0


def test_log_odds_of_component_0():
    values = np.linspace(-0.3, 0.3, 41).reshape(1, 41)
    each = parts(values)
    expected = each[..., 0] - special.logsumexp(each[..., 1:], -1)
    odds = mixture((1, 41)).log_odds(torch.from_numpy(values))
    torch.testing.assert_close(odds, torch.from_numpy(expected))
    assert odds.min() < -5 and odds.max() > 3


def test_samples():
    draws = mixture((2,)).sample((10_000,)).flatten().numpy()

    def cdf(w):
        return (stats.norm.cdf(w[:, None], LOCS, SCALES) * PROPORTIONS.numpy()).sum(-1)

    assert stats.kstest(draws, cdf).pvalue > 1e-3


def test_expand():
    p = mixture((3,)).expand((2, 3))
    assert p.batch_shape == (2, 3) and p.event_shape == ()
    assert p.sample().shape == (2, 3) and p.locs is not None


def test_merging_keeps_what_differs():
    merged = mixture().merged(1e-3)
    torch.testing.assert_close(merged.locs, LOCS)
    torch.testing.assert_close(merged.log_proportions.exp(), PROPORTIONS)


def test_merging_moments():
    """Two of four are one: proportions add up, mean and variance are those of the two."""
    locs, scales = torch.tensor([0.0, 0.3, 0.303, -0.3]), torch.tensor([0.02, 0.05, 0.051, 0.05])
    p = mixture((), locs, scales)
    merged = p.merged(0.01)
    assert len(merged.locs) == 3
    a, b = PROPORTIONS[1], PROPORTIONS[2]
    mean = (a * 0.3 + b * 0.303) / (a + b)
    second = (a * (0.05**2 + 0.3**2) + b * (0.051**2 + 0.303**2)) / (a + b)
    assert merged.locs[1].item() == pytest.approx(mean.item())
    variance = merged.log_scales[1].mul(2).exp().item()
    assert variance == pytest.approx((second - mean**2).item(), rel=1e-6)
    assert merged.log_proportions.exp().sum().item() == pytest.approx(1)
    assert merged.locs[[0, 2]].equal(locs[[0, 3]])


def test_the_tolerance_is_the_mean_divergence():
    """Of two normals, both ways, from torch."""
    p = mixture((), LOCS[:2] * 0.1, SCALES[:2], torch.tensor([0.4, 0.6]))
    a, b = (torch.distributions.Normal(p.locs[k], p.log_scales[k].exp()) for k in (0, 1))
    between = 0.5 * (kl_divergence(a, b) + kl_divergence(b, a)).item()
    assert len(p.merged(between * 1.001).locs) == 1
    assert len(p.merged(between * 0.999).locs) == 2


def test_what_merges_with_component_0_is_zero():
    locs = torch.tensor([0.0, 0.001, 0.5])
    p = mixture((), locs, SCALES[[0, 0, 0]], torch.tensor([0.1, 0.5, 0.4]))
    merged = p.merged(0.01)
    assert merged.locs.tolist() == [0.0, 0.5]
    assert merged.log_proportions[0].exp().item() == pytest.approx(0.6)


def test_many_values_take_little_memory():
    """No array of values times components is kept for the gradient."""
    value = torch.randn(1000, requires_grad=True)
    p = mixture((1000,))
    saved = []
    counted = torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.numel()) or t, lambda t: t
    )
    with counted:
        p.log_prob(value).sum()
    assert sum(saved) < 3 * 1000


def test_second_derivatives():
    inputs = [t.clone().requires_grad_() for t in (VALUES, LOCS, SCALES.log(), PROPORTIONS.log())]

    def weighted(v, m, s, p):
        return GaussianMixture(m, s, p).log_prob(v) * VALUES

    assert torch.autograd.gradgradcheck(weighted, inputs)
    fixed = [t.detach() for t in inputs[1:]]
    assert torch.autograd.gradgradcheck(lambda v: weighted(v, *fixed), inputs[:1])


def test_the_hessian_that_laplace_takes():
    """Under a prior of one component the log density is a parabola."""
    one = torch.zeros(1)
    p = GaussianMixture(one, torch.log(one + 0.5), one)
    hessian = torch.autograd.functional.hessian(lambda w: p.log_prob(w).sum(), VALUES[0])
    torch.testing.assert_close(hessian, -4 * torch.eye(3))
