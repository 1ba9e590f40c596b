"""tau0 by the bound: a prior scale whose evidence is known by hand, and what is not trained."""

import functools
import math

import bitsback
import pytest
import torch
from bitsback import diagnostics
from bitsback.diagnostics import best_tau0, select_tau0
from bitsback.models.likelihoods import normal
from torch import nn

NOISE = 0.5
X = torch.eye(3, dtype=torch.float64).repeat(4, 1)
WEIGHTS = torch.tensor([[0.9], [-0.4], [0.1]], dtype=torch.float64)
VALUES = (1e-3, 0.1, 0.3, 0.6, 1.0, 10.0)


def labels():
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(len(X), 1, generator=generator, dtype=torch.float64)
    return X @ WEIGHTS + NOISE * noise


def log_evidence(tau0: float) -> float:
    """y ~ N(0, NOISE^2 I + tau0^2 X X')."""
    covariance = NOISE**2 * torch.eye(len(X), dtype=torch.float64) + tau0**2 * X @ X.T
    zeros = torch.zeros(len(X), dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(zeros, covariance)
    return marginal.log_prob(labels()[:, 0]).item()


def pair(tau0: float, model="Gaussian", guide="MeanFieldNormal", **options):
    net = nn.Linear(3, 1, bias=False).double()
    likelihood = functools.partial(normal, scale=NOISE)
    made = getattr(bitsback.models, model)(net, len(X), likelihood=likelihood, **options)
    return made, getattr(bitsback.guides, guide)(made)


def exact(tau0: float, start=None, widen: float = 1.0):
    """w ~ N(0, tau0^2) and its posterior, which is factorised as the inputs are orthogonal."""
    model, guide = pair(tau0, scale=tau0)
    variance = 1 / (4 / NOISE**2 + 1 / tau0**2)
    with torch.no_grad():
        guide.get_parameter("loc.weight").copy_((X.T @ labels()).T * variance / NOISE**2)
        guide.get_parameter("log_scale.weight").fill_(0.5 * math.log(variance) + math.log(widen))
    return model, guide


def closed_kl(model, guide):
    with torch.no_grad():
        return bitsback.ELBO().terms(model, guide, X, labels()).total_kl.item()


def test_with_the_exact_posterior_the_bound_is_the_evidence():
    rows = select_tau0(exact, X, labels(), reversed(VALUES), num_samples=10, k=2)
    assert [row.tau0 for row in rows] == list(VALUES)
    for row in rows:
        truth = log_evidence(row.tau0) / len(X)
        assert row.elbo == pytest.approx(truth, abs=1e-9)
        assert row.importance == pytest.approx(truth, abs=1e-9) and row.k == 2
        assert row.elbo_stderr < 1e-9
    assert best_tau0(rows).tau0 == max(VALUES, key=log_evidence) == 0.6


def test_a_wide_guide_is_below_by_its_kl_and_the_tighter_bound_decides():
    wide = functools.partial(exact, widen=2.0)
    gap = 3 * (1.5 - math.log(2.0)) / len(X)
    for options in ({}, {"kl": closed_kl}):
        rows = select_tau0(wide, X, labels(), VALUES, num_samples=400, k=20, **options)
        for row in rows:
            truth = log_evidence(row.tau0) / len(X)
            assert abs(row.elbo - (truth - gap)) < 5 * row.elbo_stderr
            assert row.elbo < row.importance == row.bound
            assert row.importance < truth + 5 * row.importance_stderr
            assert row.bound == pytest.approx(sum(row.parts) / len(row.parts))
        gap_of_best, stderr = best_tau0(rows).above(rows[2])
        assert gap_of_best == pytest.approx(best_tau0(rows).bound - rows[2].bound)
        # The same noise at each value: neighbours differ more surely than each is known.
        assert stderr < 0.5 * rows[2].importance_stderr


def test_all_start_from_one_pair():
    calls = []

    def train(tau0, start):
        calls.append((tau0, start))
        return exact(tau0)

    kept = []
    measured = select_tau0(
        train, X, labels(), (0.1, 1.0), reference=0.3, num_samples=2,
        measure=lambda model, guide: {"bytes": 7},
        keep=lambda row, model, guide: kept.append((row, model)),
    )  # fmt: skip
    assert [tau0 for tau0, _ in calls] == [0.3, 0.1, 1.0]
    start = calls[1][1]
    assert calls[0][1] is None and calls[2][1] is start and start is not None
    assert [row for row, _ in kept] == measured
    assert all(row.figures == {"bytes": 7} for row in measured)


def test_what_is_done_is_not_done_again():
    rows = select_tau0(exact, X, labels(), (0.1, 1.0), num_samples=2)
    done = {row.tau0: row for row in rows}

    def never(tau0, start):
        raise AssertionError("trained again")

    assert select_tau0(never, X, labels(), (0.1, 1.0), done=done) == rows
    more = select_tau0(exact, X, labels(), (0.1, 0.5), num_samples=2, done=done)
    assert more[0] is rows[0] and more[1].tau0 == 0.5


@pytest.mark.parametrize(
    "made, message",
    [
        ({"model": "LogUniform"}, "LogUniform has an improper prior.*arbitrary constant"),
        ({"guide": "PointMass"}, "PointMass has no density"),
    ],
)
def test_what_has_no_evidence(made, message):
    with pytest.raises(ValueError, match=message):
        select_tau0(lambda tau0, start: pair(tau0, **made), X, labels(), kl=closed_kl)


@pytest.mark.parametrize("values", [(), (0.1, 0.0), (float("nan"),), (float("inf"),)])
def test_values(values):
    with pytest.raises(ValueError, match="values of tau0 must be positive"):
        select_tau0(exact, X, labels(), values)


def test_part_of_the_data():
    with pytest.raises(ValueError, match="all the training data"):
        select_tau0(exact, X[:6], labels()[:6], (0.1,), num_samples=2)


def test_default_grid():
    assert len(diagnostics.tau0.VALUES) >= 12
    assert min(diagnostics.tau0.VALUES) == 1e-8 and max(diagnostics.tau0.VALUES) == 1.0
    assert diagnostics.tau0.PUBLISHED in diagnostics.tau0.VALUES
