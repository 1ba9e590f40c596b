import bitsback
import pyro
import pytest
import torch
from bitsback.diagnostics import draw
from pyro import poutine
from pyro.distributions import LogNormal, Normal
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import nn

from .problem import NOISE, D, N, Regression


def test_densities_are_those_by_hand():
    """The model's, the guide's and each example's, with a lazy weight and in uneven batches."""
    problem = Regression()
    draws = draw(problem.model, problem.mean_field(), problem.x, problem.y, 4, batch_size=10)
    w = draws.values["weight"]
    assert w.shape == (4, 1, D) and draws.log_likelihood.shape == (4, N)
    torch.testing.assert_close(draws.log_joint, problem.log_joint(w))
    stddev = torch.linalg.inv(problem.covariance).diagonal().rsqrt()
    log_q = Normal(problem.mean, stddev).log_prob(w[:, 0]).sum(1)
    torch.testing.assert_close(draws.log_q, log_q)
    by_hand = Normal(problem.x @ w[2, 0], NOISE).log_prob(problem.y[:, 0])
    torch.testing.assert_close(draws.log_likelihood[2], by_hand)


def test_the_exact_posterior_has_the_evidence_as_its_ratio():
    """Also: the auxiliary site and the Jacobian of an autoguide are counted, once."""
    problem = Regression()
    draws = draw(problem.model, problem.exact_guide(), problem.x, problem.y, 5)
    expected = torch.full((5,), problem.log_evidence, dtype=torch.float64)
    torch.testing.assert_close(draws.log_ratio, expected, rtol=0, atol=1e-9)


class Scaled(bitsback.models.Gaussian):
    """A hierarchical prior: weight = scale * base, the weight a deterministic site."""

    def weight(self, name, initial):
        scale = pyro.sample(f"{name}.scale", LogNormal(initial.new_zeros(()), 0.5))
        base = pyro.sample(f"{name}.base", Normal(torch.zeros_like(initial), 1).to_event(2))
        return pyro.deterministic(name, scale * base)


@pytest.fixture
def hierarchical():
    problem = Regression()
    model = Scaled(nn.Linear(D, 1, bias=False).double(), N, likelihood="normal")
    guide = AutoNormal(model, init_scale=0.3)
    guide(problem.x, problem.y)
    return problem, model, guide


def test_effective_weights_are_kept_but_not_counted(hierarchical):
    problem, model, guide = hierarchical
    draws = draw(model, guide, problem.x, problem.y, 3)
    scale, base = draws.values["weight.scale"], draws.values["weight.base"]
    assert set(draws.values) == {"weight", "weight.scale", "weight.base"}
    torch.testing.assert_close(draws.values["weight"], scale[:, None, None] * base)
    prior = LogNormal(0.0, 0.5).log_prob(scale) + Normal(0.0, 1.0).log_prob(base).sum((1, 2))
    torch.testing.assert_close(draws.log_prior, prior.double())
    # q in the constrained space: log-normal for the scale, its Jacobian included.
    loc, spread = guide.locs.weight.scale, guide.scales.weight.scale
    log_q = LogNormal(loc, spread).log_prob(scale)
    log_q = log_q + Normal(guide.locs.weight.base, guide.scales.weight.base).log_prob(base).sum(
        (1, 2)
    )
    torch.testing.assert_close(draws.log_q, log_q.detach().double())


def test_draws_by_site_and_a_missing_site():
    problem = Regression()
    w = torch.randn(6, 1, D, dtype=torch.float64)
    draws = draw(problem.model, {"weight": w}, problem.x, problem.y)
    torch.testing.assert_close(draws.log_joint, problem.log_joint(w))
    assert draws.exact and draws.log_q is None
    with pytest.raises(ValueError, match="without a guide"):
        _ = draws.log_ratio
    with pytest.raises(ValueError, match="'weight', which the model samples"):
        draw(problem.model, {"other": w}, problem.x, problem.y)


def test_no_ratio_for_points_part_of_the_data_or_an_improper_prior():
    problem = Regression()
    x, y = problem.x, problem.y
    auto = AutoDelta(problem.model)
    for guide in (bitsback.guides.PointMass(problem.model), auto):
        with pytest.raises(ValueError, match="point"):
            _ = draw(problem.model, guide, x, y, 2).log_ratio
    with pytest.raises(ValueError, match=r"24 examples.*num_data is 25"):
        _ = draw(problem.model, problem.mean_field(), x[1:], y[1:], 2).log_ratio
    model = bitsback.models.LogUniform(nn.Linear(D, 1).double(), N, likelihood="normal")
    draws = draw(model, bitsback.guides.MeanFieldNormal(model), x, y, 2)
    assert draws.log_prior is None and draws.log_likelihood.isfinite().all()
    for attribute in ("log_ratio", "log_joint"):
        with pytest.raises(ValueError, match="improper"):
            getattr(draws, attribute)


class NoDensity(Normal):
    def log_prob(self, value):
        raise NotImplementedError

    def expand(self, batch_shape, _instance=None):
        return self


def test_what_has_no_density_still_gives_draws():
    """A relaxed gate, say: no ratios, but likelihoods and predictions."""
    problem = Regression()

    def guide(x, y=None):
        q = NoDensity(problem.mean[None], torch.ones(1, D, dtype=torch.float64))
        pyro.sample("weight", q.to_event(2))

    draws = draw(problem.model, guide, problem.x, problem.y, 3)
    assert draws.log_q is None and draws.log_joint.isfinite().all()
    with pytest.raises(ValueError, match="no density"):
        _ = draws.log_ratio


class Dropped(Normal):
    """Half of the values at 0, the others at loc; a log_prob that leaves a constant out."""

    def rsample(self, sample_shape=()):
        return self.loc * (torch.rand_like(self.loc) < 0.5)

    def log_prob(self, value):
        return torch.zeros_like(value)

    def expand(self, batch_shape, _instance=None):
        return self


def test_atoms_are_no_density_whatever_log_prob_says():
    problem = Regression()

    def guide(x, y=None):
        pyro.sample("weight", Dropped(problem.mean[None], 1.0).to_event(2))

    draws = draw(problem.model, guide, problem.x, problem.y, 20)
    assert draws.log_q is None
    with pytest.raises(ValueError, match="a few points"):
        _ = draws.log_ratio


def test_no_more_than_a_batch_at_a_time():
    sizes = []

    class Net(nn.Linear):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    model = bitsback.models.Gaussian(Net(2, 3), 23)
    guide = bitsback.guides.MeanFieldNormal(model)
    draws = draw(model, guide, torch.randn(23, 2), torch.randint(3, (23,)), 2, batch_size=10)
    assert draws.log_likelihood.shape == (2, 23) and max(sizes) == 10


def test_sites_predictions_and_modes():
    """Only what was asked for is kept; dropout is off meanwhile and on again afterwards."""
    net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3))
    model = bitsback.models.Gaussian(net, num_data=20)
    guide = bitsback.guides.MeanFieldNormal(model, init_scale=1e-6)
    x, y = torch.randn(20, 4), torch.randint(3, (20,))
    model.net[0].eval()
    draws = draw(model, guide, x, y, 5, sites=["2.weight"], predict=True)
    assert set(draws.values) == {"2.weight"}
    assert draws.predictions.shape == (5, 20) and draws.predictions.dtype == torch.int64
    assert draws.log_likelihood.std(0).max() < 1e-3
    assert model.net[1].training and not model.net[0].training


def test_predictions_come_from_the_likelihood():
    """Their variance about the mean is the noise's; 5 standard errors of 25 * 400 draws."""
    problem = Regression()
    guide = problem.mean_field(widen=1e-6)
    draws = draw(problem.model, guide, problem.x, problem.y, 400, predict=True)
    residual = draws.predictions[..., 0] - problem.x @ problem.mean
    assert residual.std().item() == pytest.approx(NOISE, rel=5 / (2 * 25 * 400) ** 0.5)


def test_noise_of_a_lazy_weight_is_shared_by_all_examples():
    """Else the scores would be those of another weight for each example."""
    problem = Regression()
    x = problem.x[:1].expand(N, D)
    draws = draw(problem.model, problem.mean_field(), x, problem.y[:1].expand(N, 1), 3)
    assert (draws.log_likelihood == draws.log_likelihood[:, :1]).all()
    with poutine.trace() as trace:
        problem.mean_field()(x)
    assert not isinstance(trace.trace.nodes["weight"]["value"], torch.Tensor)  # it was lazy


def test_a_guide_that_draws_more_than_the_model_samples_has_no_density_here():
    problem = Regression()

    def guide(x, y):
        zeros = torch.zeros(1, D, dtype=torch.float64)
        pyro.sample("weight", pyro.distributions.Normal(zeros, 1.0).to_event(2))
        pyro.sample("more", pyro.distributions.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="draws 'more', which the model does not sample"):
        draw(problem.model, guide, problem.x, problem.y, 3)
