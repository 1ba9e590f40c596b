import re

import bitsback
import pytest
import torch
from bitsback.diagnostics import draw, figures, report_html
from torch import nn

from .problem import D, N, Regression


def words(page: str) -> str:
    """The page without its pictures."""
    return re.sub(r"base64,[\w+/=]+", "", page)


def test_regression_page():
    problem = Regression()
    held_out = (problem.x, problem.y)
    page = report_html(
        problem.model, problem.mean_field(), problem.x, problem.y, held_out, num_samples=100
    )
    said = words(page)
    for part in (
        "Guide MeanFieldNormal of model Gaussian",
        "K-hat",
        "ELBO",
        "lower bound",
        "Leave-one-out",
    ):
        assert part in said
    assert "LOO-PIT values are" in said and "Held-out PIT values are" in said
    assert "weight [2]" in said and "100 draws of 3 values, 25 examples" in said
    assert page.count("data:image/png;base64,iVBOR") == 3
    assert "http" not in said and "<script" not in said


def test_forests_ranks_and_khats_by_site():
    """A horseshoe has scales: s and z of its one tensor, and not the factors that make them."""
    model = bitsback.models.Horseshoe(nn.Linear(D, 2), N, tau0=0.1)
    guide = bitsback.guides.Horseshoe(model)
    x, y = torch.randn(N, D), torch.randint(2, (N,))
    reference = draw(model, guide, x, y, 30)
    khats = {"weight.base": 0.25}
    page = report_html(model, guide, x, y, num_samples=30, reference=reference, site_khats=khats)
    said = words(page)
    for part in ("94 % interval", "Ranks among", "weight.global [0]", "0.25", "K-hat by site"):
        assert part in said
    assert "weight.global.gamma [0]" not in said
    assert page.count("data:image/png") == 2 + 6  # forests, ranks
    plain = words(report_html(model, guide, x, y, num_samples=30))
    assert "Ranks" not in plain and "by site" not in plain


def test_ratios_without_a_mean_estimate_nothing():
    """A guide that is far too narrow: k-hat above 1, and nothing is made of its weights."""
    problem = Regression()
    torch.manual_seed(0)
    draws = draw(problem.model, problem.mean_field(0.1), problem.x, problem.y, 200)
    said = words(report_html(problem.model, None, problem.x, problem.y, draws=draws))
    assert "correct nothing" in said and "ELBO" in said and "PSIS" not in said
    assert "Leave-one-out" in said and "no weights give" in said and "log predictive" not in said
    found = figures(problem.model, None, draws)
    assert found["khat"] > 1 and found["loo"] is None and found["values"] == D
    assert [e["direction"] for e in found["evidence"].values()] == ["lower bound"] * 2


def test_too_few_draws_are_no_verdict():
    """k-hat is inf where there is no tail to fit, which says nothing of the guide."""
    problem = Regression()
    draws = draw(problem.model, problem.exact_guide(), problem.x, problem.y, 12)
    said = words(report_html(problem.model, None, problem.x, problem.y, draws=draws))
    assert "too few for a k-hat" in said and "None: too few draws." in said
    assert "no weights" not in said


def test_draws_of_mcmc_need_no_ratio():
    problem = Regression()
    torch.manual_seed(0)
    w = torch.distributions.MultivariateNormal(problem.mean, problem.covariance).sample((200, 1))
    draws = draw(problem.model, {"weight": w}, problem.x, problem.y)
    found = figures(problem.model, None, draws)
    assert found["obstacle"] and found["loo"]["khat_above"] == 0


def test_classifier_page_of_an_improper_prior():
    """No evidence, and the reason; calibration all the same."""
    net = nn.Linear(D, 4)
    model = bitsback.models.LogUniform(net, N)
    guide = bitsback.guides.MeanFieldNormal(model)
    x, y = torch.randn(N, D), torch.randint(4, (N,))
    said = words(report_html(model, guide, x, y, (x, y), network=net, num_samples=20))
    assert "improper prior" in said and "ELBO" not in said and "Leave-one-out" not in said
    assert "compressed" in said and "Brier" in said


def test_binary_page():
    net = nn.Linear(D, 2)
    model = bitsback.models.Gaussian(net, N, likelihood="bernoulli")
    guide = bitsback.guides.MeanFieldNormal(model)
    x, y = torch.randn(N, D), torch.randint(2, (N, 2)).float()
    said = words(report_html(model, guide, x, y, (x, y), network=net, num_samples=30))
    assert "Brier" in said and "compressed" in said


@pytest.mark.parametrize("given", [False, True])
def test_names_are_escaped(given):
    class Odd(bitsback.models.Gaussian):
        pass

    Odd.__name__ = "<b>" if given else "Odd"
    problem = Regression()
    problem.model.__class__ = Odd
    draws = {"weight": torch.randn(40, 1, D, dtype=torch.float64)}
    page = report_html(problem.model, draws, problem.x, problem.y)
    assert "<b>" not in page and ("&lt;b&gt;" in page) == given
    assert "without a guide" in page and "Leave-one-out" in page
