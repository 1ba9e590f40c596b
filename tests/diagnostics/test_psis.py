import math

import numpy as np
import pytest
import torch
from bitsback.diagnostics import psis, threshold, verdict


def ratios(seed: int, size: int, spread: float) -> np.ndarray:
    """Log ratios with heavier tails the larger the spread."""
    return spread * np.random.RandomState(seed).standard_t(5, size) - 100.0


@pytest.mark.parametrize("size", [30, 101, 1000, 4000])
@pytest.mark.parametrize("spread", [0.01, 0.5, 2.0, 8.0])
def test_equals_arviz(size, spread):
    """0.23 and its sign: RATIOS. 1.x has another rule for the tail, and no public function."""
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("arviz 1.x")
    log_ratios = ratios(size, size, spread)
    weights, khat = arviz.psislw(log_ratios.copy(), normalize=True)
    ours = psis(torch.tensor(log_ratios))
    assert ours.khat == pytest.approx(float(khat), abs=1e-9)
    np.testing.assert_allclose(ours.normalized.numpy(), weights, rtol=0, atol=1e-9)
    shifted, _ = arviz.psislw(log_ratios.copy(), normalize=False)
    np.testing.assert_allclose(ours.log_weights.numpy(), shifted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_finds_the_shape_of_a_pareto_tail(shape):
    """Ratios that are Pareto themselves; the fit's standard error is (1 + k) / sqrt(tail)."""
    uniform = torch.rand(20_000, dtype=torch.float64)
    khat = psis(-shape * uniform.log()).khat
    assert khat == pytest.approx(shape, abs=4 * (1 + shape) / math.sqrt(3 * math.sqrt(20_000)))


def test_the_sign_matters():
    """Ratios bounded above have no tail; turned about they have a heavy one."""
    log_ratios = 3 * torch.rand(2000, dtype=torch.float64).log()
    assert psis(log_ratios).khat < 0.2 < 1 < psis(-log_ratios).khat


def test_too_few_draws_and_no_spread():
    assert psis(torch.randn(10)).khat == math.inf
    equal = psis(torch.full((100,), -3.0))
    assert equal.khat == -math.inf
    torch.testing.assert_close(equal.normalized.exp(), torch.full((100,), 0.01).double())


def test_impossible_draws_have_no_weight():
    log_ratios = torch.randn(200)
    log_ratios[:50] = -torch.inf
    smoothed = psis(log_ratios)
    assert (smoothed.log_weights[:50] == -torch.inf).all() and math.isfinite(smoothed.khat)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_what_is_no_ratio(value):
    with pytest.raises(ValueError, match="NaN"):
        psis(torch.tensor([0.0, value]))
    with pytest.raises(ValueError, match="shape"):
        psis(torch.zeros(3, 3))


def test_verdicts():
    assert threshold(1000) == pytest.approx(2 / 3) and threshold(10**6) == 0.7
    said = [verdict(k, 1000).split(":")[1] for k in (0.3, 0.8, 2.0)]
    assert "can be corrected" in said[0] and "too few" in said[1] and "misses" in said[2]
    many = verdict(2.0, 1000, 400)
    assert "look at single sites" in many and "misses" not in many
    assert "single" not in verdict(0.3, 1000, 400) + verdict(2.0, 1000, 300)
    assert verdict(math.inf, 20) == "20 draws are too few for a k-hat"
