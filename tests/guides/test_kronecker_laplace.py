"""KroneckerLaplace against exact posteriors and Hessians by autograd."""

import math

import pyro
import pytest
import torch
from bitsback import compress
from bitsback.guides import (
    ELBO,
    DiagonalLaplace,
    KroneckerLaplace,
    MeanFieldNormal,
    PointMass,
    Rounding,
    RowNormal,
    SharedPoints,
    posterior_of,
)
from bitsback.models import (
    Gaussian,
    Horseshoe,
    Laplace,
    LogUniform,
    Rate,
    SoftSharing,
)
from bitsback.models.likelihoods import LIKELIHOODS
from bitsback.training.trained import load_guide, save_guide
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

from .laplace import F64, NOISE, NORMAL, PRIOR, Regression, fisher, found, precision_of


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(F64)


def test_of_linear_regression_posterior_and_evidence_are_exact():
    problem = Regression()
    guide = problem.guide()
    expected = torch.block_diag(*[torch.linalg.inv(problem.covariance)] * 2)
    torch.testing.assert_close(precision_of(guide.density("weight")), expected)
    moments = guide.posterior().weights["weight"]
    stddev = problem.covariance.diagonal().sqrt().expand(2, 3)
    torch.testing.assert_close(moments.stddev, stddev)
    torch.testing.assert_close(moments.log_alpha, 2 * (stddev / moments.loc.abs()).log())
    inputs = problem.x.T @ problem.x / 20
    torch.testing.assert_close(moments.curvature.inputs, inputs[None])
    torch.testing.assert_close(moments.curvature.outputs, torch.eye(2)[None] / NOISE**2)
    evidence = guide.log_evidence(problem.x, problem.y)
    assert evidence == pytest.approx(problem.log_evidence, abs=1e-9)


def test_every_draw_gives_the_evidence_where_the_posterior_is_exact():
    """log p(w, y) - log q(w) is then the same for all w: the guide's sites are right in SVI."""
    problem = Regression()
    guide = problem.guide()
    for _ in range(3):
        loss = Trace_ELBO().loss(problem.model, guide, problem.x, problem.y)
        assert loss == pytest.approx(-problem.log_evidence, abs=1e-9)


def test_the_closed_form_kl_is_used():
    problem = Regression()
    terms = ELBO().terms(problem.model, problem.guide(), problem.x, problem.y)
    q, p = problem.guide().density("weight"), problem.model.prior("weight", torch.zeros(2, 3))
    expected = torch.distributions.kl_divergence(q, p.to_event(2))
    torch.testing.assert_close(terms.kl["weight"], expected)


@pytest.mark.parametrize("layer", ["0.weight", "1.weight", "2.weight"])
def test_of_a_deep_linear_network_each_block_is_the_exact_hessian(layer):
    """Gradients in a layer's outputs do not depend on its inputs there."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    x = torch.randn(9, 4)
    expected = fisher(net, NORMAL, layer, x)
    precision = precision_of(found(net, x, NORMAL).density(layer))
    eye = torch.eye(len(expected)) / PRIOR**2
    torch.testing.assert_close(precision, expected + eye)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: nn.Conv2d(2, 3, 2, padding=1), (4, 2, 2, 2)),
        (lambda: nn.Conv1d(4, 4, 2, groups=2), (4, 4, 5)),
        (lambda: nn.ConvTranspose1d(2, 3, 2, stride=2), (4, 2, 3)),
        (lambda: nn.Linear(3, 2), (4, 5, 3)),
    ],
)
def test_of_a_layer_at_the_output_positions_are_exact_too(make, shape):
    """Under normal noise the gradients at different positions are uncorrelated."""
    net, x = make(), torch.randn(shape)
    expected = fisher(net, NORMAL, "weight", x)
    precision = precision_of(found(net, x, NORMAL).density("weight"))
    torch.testing.assert_close(precision, expected + torch.eye(len(expected)) / PRIOR**2)


@pytest.mark.parametrize("kind", ["categorical", "bernoulli"])
def test_of_logistic_regression_at_zero_it_is_the_exact_hessian(kind):
    """There all examples have the same predictions."""
    net, x = nn.Linear(4, 3, bias=False), torch.randn(11, 4)
    net.weight.data.zero_()
    expected = fisher(net, LIKELIHOODS[kind], "weight", x)
    precision = precision_of(found(net, x, kind).density("weight"))
    torch.testing.assert_close(precision, expected + torch.eye(12) / PRIOR**2)


@pytest.mark.parametrize("kind", ["categorical", "bernoulli", "normal"])
@pytest.mark.parametrize("layer", ["0.weight", "2.weight"])
def test_of_one_example_each_block_is_exact(kind, layer):
    """Whatever the network: one input and one gradient cannot be correlated."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    x = torch.randn(1, 4)
    expected = fisher(net, LIKELIHOODS[kind], layer, x)
    precision = precision_of(found(net, x, kind).density(layer))
    torch.testing.assert_close(precision, expected + torch.eye(len(expected)) / PRIOR**2)


def test_the_data_set_counts_not_the_calibration_inputs():
    """Twice the number of examples behind the same inputs is twice the curvature."""
    net, x = nn.Linear(3, 2), torch.randn(10, 3)
    guides = [KroneckerLaplace(Gaussian(net, n, scale=1.0)) for n in (10, 20)]
    for guide in guides:
        guide.after_training(x)
    one, two = (precision_of(guide.density("weight")) - torch.eye(6) for guide in guides)
    torch.testing.assert_close(2 * one, two)


def test_many_classes_are_drawn_without_bias():
    net, x = nn.Linear(3, 40), torch.randn(200, 3)
    outputs = found(net, x).posterior().weights["weight"].curvature.outputs[0]
    p = net(x).detach().softmax(1)
    expected = (p.diag_embed() - p[:, :, None] * p[:, None, :]).mean(0)
    torch.testing.assert_close(outputs, expected, rtol=0.2, atol=3e-3)


def test_it_is_a_point_until_the_curvature_is_known():
    problem = Regression()
    guide = KroneckerLaplace(problem.model)
    svi = SVI(problem.model, guide, pyro.optim.Adam({"lr": 1e-3}), ELBO())
    svi.step(problem.x, problem.y)
    assert not guide.posterior().weights["weight"].stddev.any()
    assert guide()["weight"].equal(guide()["weight"])
    assert guide.quantiles([0.1, 0.9])["weight"].shape == (2, 2, 3)
    for ask in (lambda: guide.density("weight"), guide.best_scale):
        with pytest.raises(ValueError, match="call after_training"):
            ask()
    guide.after_training(problem.x, problem.y)
    assert not guide()["weight"].equal(guide()["weight"])
    low, high = guide.quantiles([0.1, 0.9])["weight"]
    assert (low < high).all()


def test_predictive_draws_from_it():
    problem = Regression()
    guide = problem.guide()
    predictive = Predictive(problem.model, guide=guide, num_samples=400, return_sites=["weight"])
    draws = predictive(problem.x)["weight"].reshape(400, 2, 3)
    q = guide.density("weight")
    torch.testing.assert_close(draws.mean(0), q.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.std(0), q.variance.sqrt(), rtol=0.2, atol=0)


@pytest.mark.parametrize("target", [MeanFieldNormal, RowNormal, DiagonalLaplace, KroneckerLaplace])
def test_other_guides_may_start_from_it(target):
    problem = Regression()
    posterior = problem.guide().posterior()
    problem.model.initial_weights()["weight"].zero_()
    guide = target(problem.model)
    guide.start_from(posterior)
    moments = guide.posterior().weights["weight"]
    torch.testing.assert_close(moments.loc, posterior.weights["weight"].loc)
    if target in (MeanFieldNormal, RowNormal):
        torch.testing.assert_close(moments.stddev, posterior.weights["weight"].stddev)
    if target is KroneckerLaplace:
        assert not guide.is_found


@pytest.mark.parametrize(
    "target, model", [(PointMass, Laplace), (SharedPoints, SoftSharing), (Rounding, Rate)]
)
def test_guides_of_points_take_over_its_means(target, model):
    problem = Regression()
    posterior = problem.guide().posterior()
    posterior.weights["weight"].loc.add_(0.3)  # not where the guide starts
    guide = target(model(problem.model.trained(), num_data=20, likelihood=NORMAL))
    guide.start_from(posterior)
    torch.testing.assert_close(guide.get_parameter("loc.weight"), posterior.weights["weight"].loc)


def test_a_start_elsewhere_forgets_the_curvature():
    problem = Regression()
    guide = problem.guide()
    guide.start_from(posterior_of(problem.guide(), problem.model))
    assert not guide.is_found


class Mixed(nn.Module):
    """A dense layer behind an embedding, and a weight that multiplies elementwise."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.scale = nn.Embedding(5, 3), nn.Parameter(torch.rand(2, 3))
        self.map = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map((self.table(x) * self.scale).flatten(1))


def test_a_weight_without_a_matrix_has_the_diagonal():
    net, x = Mixed(), torch.randint(0, 5, (9, 2))
    guide = found(net, x)
    assert guide.without_factors == {"scale": "mul does not use it as a matrix"}
    posterior = guide.posterior().weights
    assert posterior["scale"].curvature is None
    expected = fisher(net, LIKELIHOODS["categorical"], "scale", x).diagonal() + PRIOR**-2
    torch.testing.assert_close(posterior["scale"].stddev.flatten(), expected.rsqrt())
    assert posterior["table.weight"].curvature.inputs.shape == (1, 5)
    y = torch.randint(0, 2, (9,))
    assert math.isfinite(guide.log_evidence(x, y)) and guide.best_scale() > 0
    assert guide()["scale"].shape == (2, 3)


def test_a_tied_weight_and_a_network_of_several_inputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.second = nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(a).tanh() + b)

    x = (torch.randn(6, 3), torch.randn(6, 3))
    guide = KroneckerLaplace(Gaussian(Two(), num_data=6))
    guide.after_training(x)
    assert not guide.without_factors and math.isfinite(guide.log_evidence(x, torch.arange(6) % 3))


def test_a_saved_guide_has_its_curvature(tmp_path):
    torch.set_default_dtype(torch.float32)
    net, x = Mixed(), torch.randint(0, 5, (9, 2))
    guide = found(net, x)
    save_guide(tmp_path / "pair", guide._model[0], guide)
    other = Gaussian(Mixed(), num_data=9, scale=PRIOR)
    loaded = KroneckerLaplace(other)
    load_guide(tmp_path / "pair", other, loaded)
    expected, result = guide.posterior().weights, loaded.posterior().weights
    for name, weight in expected.items():
        torch.testing.assert_close(result[name].stddev, weight.stddev)
        torch.testing.assert_close(result[name].loc, weight.loc)


def test_compress_takes_it():
    torch.set_default_dtype(torch.float32)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x, y = torch.randn(60, 6), torch.arange(60) % 3
    guide = found(net, x)
    result = compress(guide._model[0].trained(), guide.posterior(), validation=(x, y))
    assert result.report["bytes"] > 0


def test_fewer_inputs_than_columns_leave_the_prior_there():
    net, x = nn.Linear(10, 2, bias=False), torch.randn(3, 10)
    q = found(net, x, NORMAL).density("weight")
    rest = torch.linalg.svd(x).Vh[3:]  # no input has a part in these directions
    directions = torch.zeros(7, 2, 10)
    directions[:, 0] = rest
    precision = precision_of(q)
    for direction in directions.flatten(1):
        torch.testing.assert_close(direction @ precision @ direction, torch.tensor(PRIOR**-2))


def test_constant_and_zero_inputs_are_no_fault():
    net = nn.Linear(3, 2, bias=False)
    for x in (torch.ones(5, 3), torch.zeros(5, 3)):
        moments = found(net, x).posterior().weights["weight"]
        assert (moments.stddev > 0).all() and moments.stddev.isfinite().all()
    torch.testing.assert_close(moments.stddev, torch.full((2, 3), PRIOR))


def test_models_that_it_is_not_for():
    net = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="improper prior"):
        KroneckerLaplace(LogUniform(net, num_data=5))
    with pytest.raises(ValueError, match=r"guides\.KroneckerLaplace"):
        KroneckerLaplace(Rate(net, num_data=5))
    with pytest.raises(ValueError, match="mixture"):
        KroneckerLaplace(Gaussian(net, num_data=5, mixture={"weight": 0.1}))
    with pytest.raises(ValueError, match="has no latent site"):
        KroneckerLaplace(Horseshoe(net, num_data=5))


def test_inputs_that_do_not_fit():
    guide = KroneckerLaplace(Gaussian(nn.Linear(3, 2), num_data=5))
    with pytest.raises(ValueError, match="no calibration inputs"):
        guide.after_training(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="NaN or infinity"):
        guide.after_training(torch.full((5, 3), math.nan))
    with pytest.raises(ValueError, match=r"4"):
        guide.after_training(torch.zeros(5, 4))
    assert not guide.is_found


def test_labels_that_do_not_fit():
    x = torch.randn(5, 3)
    guide = found(nn.Linear(3, 2), x)
    with pytest.raises(ValueError, match="4 labels"):
        guide.log_evidence(x, torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        guide.log_evidence(x, torch.full((5,), 2))


def test_a_network_that_cannot_be_traced_is_refused():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x) if float(x.sum()) > 0 else -self.map(x)

    guide = KroneckerLaplace(Gaussian(Branching(), num_data=5))
    with pytest.raises(ValueError, match=r"cannot be traced .*use guides\.DiagonalLaplace"):
        guide.after_training(torch.randn(5, 3))
