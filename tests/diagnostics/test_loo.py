import math

import bitsback
import numpy as np
import pytest
import torch
from bitsback.diagnostics import compare, draw, loo, loo_pit
from bitsback.diagnostics.loo import leave_one_out

from .problem import NOISE, N, Regression, posterior


@pytest.fixture(scope="module")
def problem():
    torch.manual_seed(1)
    return Regression()


def drawn(problem, guide, count=1000):
    torch.manual_seed(0)
    return draw(problem.model, guide, problem.x, problem.y, count)


@pytest.fixture(scope="module")
def results(problem):
    draws = drawn(problem, problem.mean_field(widen=2.0))
    return {"corrected": loo(draws), "plain": leave_one_out(draws, corrected=False)}


def test_corrected_loo_is_exact_loo_and_plain_is_not(problem, results):
    """A guide that is too wide, so that its ratios are bounded and the correction works.

    Over three seeds the largest error of an example was 0.03, of the sum 0.05 (2,000 draws).
    """
    exact = problem.leave_one_out()
    assert results["corrected"].elpd == pytest.approx(exact.sum().item(), abs=0.2)
    assert (results["corrected"].pointwise - exact).abs().max() < 0.08
    assert results["corrected"].khat.max() < 0.5
    assert results["plain"].elpd < exact.sum() - 10


def test_plain_loo_of_a_narrow_guide_looks_well_and_is_wrong(problem):
    """The corrected one cannot be right either, and says so."""
    draws = drawn(problem, problem.mean_field(widen=0.3))
    plain = loo(draws, corrected=False)
    with pytest.warns(UserWarning, match=r"k-hats of 25 of 25 examples are above 0\.67.*held-out"):
        corrected = loo(draws)
    assert corrected.doubtful == N and plain.doubtful == 0
    exact = problem.leave_one_out().sum().item()
    assert plain.khat.max() < 0.5 and plain.elpd > exact + 2
    assert corrected.khat.max() > 0.8 and exact < corrected.elpd < plain.elpd


def test_draws_of_the_posterior_need_no_correction(problem):
    draws = drawn(problem, problem.exact_guide())
    exact = problem.leave_one_out()
    by_site = draw(problem.model, {"weight": draws.values["weight"]}, problem.x, problem.y)
    for result in (loo(draws), loo(by_site)):
        assert result.corrected and (result.pointwise - exact).abs().max() < 0.1
        assert result.elpd == pytest.approx(exact.sum().item(), abs=0.15)
        assert result.khat.max() < 0.6
        assert 1.5 < result.p_loo < 4.5  # three weights


def exact_pit(problem):
    """F(y_n | x_n, y_-n) by refitting N times."""
    found = []
    for n in range(N):
        rest = torch.arange(N) != n
        mean, covariance = posterior(problem.x[rest], problem.y[rest])
        stddev = (problem.x[n] @ covariance @ problem.x[n] + NOISE**2).sqrt()
        found.append(torch.distributions.Normal(problem.x[n] @ mean, stddev).cdf(problem.y[n, 0]))
    return torch.stack(found)


def test_loo_pit_is_that_of_refits(problem):
    """2,000 draws of each label: a standard error of 0.011 at most, but for the weights."""
    torch.manual_seed(2)
    guide = problem.mean_field(widen=2.0)
    draws = draw(problem.model, guide, problem.x, problem.y, 2000, predict=True)
    exact = exact_pit(problem)
    assert (loo_pit(draws, problem.y) - exact).abs().max() < 0.05
    # Draws that are too wide predict too widely, and leaving out is not leaving in.
    assert (loo_pit(draws, problem.y, corrected=False) - exact).abs().max() > 0.08


def test_loo_pit_needs_labels_on_a_line(problem):
    draws = drawn(problem, problem.mean_field(), 20)
    with pytest.raises(ValueError, match="predict=True"):
        loo_pit(draws, problem.y)
    guide = problem.mean_field()
    draws = draw(problem.model, guide, problem.x, problem.y, 20, predict=True)
    with pytest.raises(ValueError, match="25 real labels"):
        loo_pit(draws, problem.y.long())


def test_standard_error_and_p(results):
    result = results["corrected"]
    by_hand = math.sqrt(N * result.pointwise.numpy().var(ddof=1))
    assert result.stderr == pytest.approx(by_hand)
    assert result.p_loo == pytest.approx((result.within - result.pointwise).sum().item())


def test_equals_the_formula_with_arvizs_smoothing(problem):
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("arviz 1.x")
    draws = drawn(problem, problem.mean_field(), 500)
    result = loo(draws)
    base = draws.log_ratio - draws.log_ratio.max()
    for n in (0, 7, 24):
        column = draws.log_likelihood[:, n]
        weights, khat = arviz.psislw((base - column).numpy())
        by_hand = torch.logsumexp(torch.tensor(weights) + column, 0).item()
        assert result.pointwise[n].item() == pytest.approx(by_hand, abs=1e-9)
        assert result.khat[n].item() == pytest.approx(float(khat), abs=1e-9)


def test_compare(results):
    same = {"one": results["corrected"], "two": results["corrected"]}
    rows = compare(same)
    assert [row.difference for row in rows] == [0, 0] and rows[0].stderr == 0
    worse = bitsback.diagnostics.Loo(
        results["corrected"].pointwise - torch.linspace(0, 1, N).double(),
        results["corrected"].khat,
        results["corrected"].within,
        corrected=True,
    )
    rows = compare({"worse": worse, "better": results["corrected"]})
    assert [row.name for row in rows] == ["better", "worse"]
    assert rows[1].difference == pytest.approx(-N / 2)
    assert rows[1].stderr == pytest.approx(
        math.sqrt(N) * torch.linspace(0, 1, N).std().item(), rel=1e-5
    )
    with pytest.raises(ValueError, match="all corrected"):
        compare(results)


def test_no_ranking_where_the_k_hats_are_large(problem, results):
    """A guide that is too narrow beats one that is right, if nobody looks at the k-hats."""
    narrow = leave_one_out(drawn(problem, problem.mean_field(widen=0.3)))
    exact = problem.leave_one_out().sum().item()
    assert narrow.elpd > results["corrected"].elpd > exact - 0.5
    with pytest.raises(ValueError, match=r"cannot rank 'narrow': .*25 of 25.*held-out"):
        compare({"wide": results["corrected"], "narrow": narrow})


def test_a_point_has_no_loo(problem):
    draws = drawn(problem, bitsback.guides.PointMass(problem.model), 2)
    with pytest.raises(ValueError, match="point"):
        loo(draws)


def test_equals_arvizs_own_for_approximate_posteriors():
    """Figures of `arviz.loo_approximate_posterior` 1.3.0, whose tail rule differs a little."""
    random = np.random.RandomState(0)
    w, y = 1.2 * random.standard_normal(1000), random.standard_normal(12)
    draws = bitsback.diagnostics.Draws(
        values={},
        log_likelihood=torch.tensor(-0.5 * (y[None] - w[:, None]) ** 2),
        log_prior=torch.tensor(-0.5 * w**2),
        log_q=torch.tensor(-0.5 * (w / 1.2) ** 2 - math.log(1.2)),
    )
    assert leave_one_out(draws).elpd == pytest.approx(-5.222434992939764, abs=1e-3)
    assert leave_one_out(draws).stderr == pytest.approx(2.198986382641539, abs=1e-3)
    assert leave_one_out(draws, corrected=False).elpd < -40
