"""SWAG against the iterates it was shown, by the paper's algorithm written out."""

import math

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import ELBO, SWAG
from bitsback.models import Gaussian, LogUniform
from pyro.infer import SVI, Predictive, Trace_ELBO

from ..methods.test_registry import NETS, X, Y


def walked(steps: int, rank: int = 4):
    """A model, a SWAG that collected `steps` random points, and these, by weight."""
    model = Gaussian(NETS["mlp"](), 20)
    guide, seen = SWAG(model, rank=rank), []
    for _ in range(steps):
        with torch.no_grad():
            for p in guide.parameters():
                p.add_(0.1 * torch.randn(p.shape))
        guide.collect()
        seen.append({name: guide.point(name).detach().clone() for name in model.weight_names})
    return model, guide, {k: torch.stack([s[k] for s in seen]).double() for k in seen[0]}


def covariance(points, rank: int):
    """Mean and covariance of q of all weights at once: algorithm 1 of Maddox et al. 2019."""
    flat = torch.cat([p.flatten(1) for p in points.values()], 1)
    mean, square, columns = torch.zeros_like(flat[0]), torch.zeros_like(flat[0]), []
    for n, point in enumerate(flat):
        mean = (n * mean + point) / (n + 1)
        square = (n * square + point.square()) / (n + 1)
        columns = [*columns, point - mean][-rank:]
    deviation = torch.stack(columns, 1)
    low_rank = deviation @ deviation.T / (len(columns) - 1)
    return mean, (torch.diag(square - mean.square()) + low_rank) / 2


@pytest.mark.parametrize("steps", [2, 4, 9])
def test_moments_are_those_of_the_algorithm(steps):
    """With fewer, as many and more points than columns."""
    _model, guide, points = walked(steps)
    mean, exact = covariance(points, 4)
    weights = guide.posterior().weights.values()
    found = torch.cat([w.loc.flatten() for w in weights]).double()
    torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-6)
    found = torch.cat([w.stddev.flatten() for w in weights]).double()
    torch.testing.assert_close(found.square(), exact.diag(), rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(
        guide.joint().covariance_matrix, exact, rtol=1e-3, atol=1e-6 * exact.max().item()
    )
    for name, weight in guide.posterior().weights.items():
        assert guide.median()[name].equal(weight.loc)
        alpha = (weight.stddev / weight.loc).square().log()
        torch.testing.assert_close(weight.log_alpha, alpha, rtol=1e-4, atol=1e-4)


def test_draws_have_the_covariance():
    """Mean, spread, and the correlation of weights of different layers, to 5 standard errors."""
    _model, guide, points = walked(9)
    mean, exact = covariance(points, 4)
    names = list(points)
    draws = Predictive(guide.eval(), num_samples=1000)()
    flat = torch.cat([draws[n].reshape(1000, -1) for n in names], 1).double()
    spread = exact.diag().sqrt()
    assert ((flat.mean(0) - mean).abs() / spread * math.sqrt(1000)).max() < 5
    error = ((spread[:, None] * spread).square() + exact.square()).sqrt() / math.sqrt(1000)
    assert ((torch.cov(flat.T) - exact).abs() / error).max() < 6
    assert (exact[0, -5:].abs() > 10 * error[0, -5:]).any()  # there is one to miss
    low, high = guide.quantiles([0.1586553, 0.8413447])[names[0]]
    torch.testing.assert_close(high - low, 2 * guide.posterior().weights[names[0]].stddev)


def test_training_is_that_of_points_and_then_it_compresses(tmp_path):
    model = Gaussian(NETS["conv"](), 20)
    guide = SWAG(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), ELBO())
    assert guide.median()["0.weight"].equal(model.initial_weights()["0.weight"])
    for _ in range(6):
        svi.step(X, Y)
        guide.collect()
    posterior = bitsback.posterior_of(guide, model)
    result = bitsback.compress(model.trained(), posterior, validation=(X, Y))
    result.save(tmp_path / "net.bb")
    assert bitsback.load(tmp_path / "net.bb")(X).equal(result.network(X))
    again = SWAG(model)
    again.load_state_dict(guide.state_dict())
    for name, weight in again.posterior().weights.items():
        assert weight.stddev.equal(posterior.weights[name].stddev)


def test_log_density_of_draws_is_that_of_the_joint_normal():
    model, guide, points = walked(9)
    guide.eval()
    draws = bitsback.diagnostics.draw(model, guide, X, Y, num_samples=3)
    flat = torch.cat([draws.values[n].reshape(3, -1) for n in points], 1).double()
    torch.testing.assert_close(draws.log_q, guide.joint().log_prob(flat), rtol=1e-3, atol=0.5)
    with pytest.raises(NotImplementedError, match="_swag"):
        ELBO().loss(model, guide, X, Y)
    assert math.isfinite(Trace_ELBO().loss(model, guide, X, Y))


def test_a_weight_that_never_moved_has_a_density_still():
    model = Gaussian(NETS["mlp"](), 20)
    guide = SWAG(model)
    for _ in range(3):
        guide.collect()
    weight = guide.posterior().weights["1.weight"]
    assert weight.stddev.gt(0).all() and weight.stddev.max() < 1e-5
    assert guide.joint().log_prob(guide.joint().mean).isfinite()


def test_what_it_refuses():
    model = Gaussian(NETS["mlp"](), 20)
    guide = SWAG(model)
    guide.collect()
    for call in (guide.posterior, guide.eval()):
        with pytest.raises(ValueError, match=r"collected 1 points.*call collect\(\)"):
            call()
    with pytest.raises(ValueError, match="rank must be 2 at least; got 1"):
        SWAG(model, rank=1)
    with pytest.raises(ValueError, match="LogUniform has an improper prior"):
        SWAG(LogUniform(NETS["mlp"](), 20))
