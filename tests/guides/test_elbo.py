"""The strict bound: its terms, its gradients against Pyro's own, its errors."""

import math

import pyro
import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal
from bitsback.guides.noise import noise_from
from bitsback.models import Gaussian, LogUniform
from pyro import poutine
from pyro.distributions import Cauchy, Normal
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal, AutoNormal
from torch import nn
from torch.nn import functional as F

SIGMAS = 5  # of seeded draws: another seed fails with probability 6e-7 for each number compared


class Twice(nn.Module):
    """A weight used two times, which models find and draw once."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.dense(torch.relu(self.dense(x))))


NETS = {
    "dense": lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)),
        nn.Conv1d(1, 2, 2),
        nn.BatchNorm1d(2),
        nn.Flatten(),
        nn.Linear(6, 2),
    ),
    "twice": Twice,
}
X, Y = torch.linspace(-1, 1, 24).reshape(6, 4), torch.tensor([0, 1, 0, 1, 1, 1])


def pair(model_class=Gaussian, guide_class=MeanFieldNormal, net="dense", num_data=12, **options):
    model = model_class(NETS[net](), num_data)
    return model, guide_class(model, **options)


def gradients(loss, model, guide, seed=3):
    """The loss, and its gradient by each parameter of model and guide."""
    pyro.set_rng_seed(seed)
    for p in (*model.parameters(), *guide.parameters()):
        p.grad = None
    value = loss.loss_and_grads(model, guide, X, Y)
    pairs = {"model": model, "guide": guide}.items()
    return value, {f"{k}.{n}": p.grad for k, m in pairs for n, p in m.named_parameters()}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("model_class", [Gaussian, LogUniform])
@pytest.mark.parametrize("local", [True, False])
def test_same_seed_same_gradients_as_pyro(net, model_class, local):
    model, guide = pair(model_class, net=net, init_scale=0.3, local_reparameterization=local)
    ours, our_gradients = gradients(ELBO(), model, guide)
    theirs, their_gradients = gradients(TraceMeanField_ELBO(), model, guide)
    assert ours == pytest.approx(theirs, rel=1e-5)
    for name, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], msg=name)
        assert gradient.isfinite().all() and gradient.any(), name


@pytest.mark.parametrize("local", [True, False])
def test_monte_carlo_agrees_in_expectation(local):
    """Trace_ELBO on a linear model, whose exact gradient is known, draw after draw."""
    net = nn.Linear(4, 1, bias=False)
    model = Gaussian(net, num_data=12, likelihood="normal", scale=0.5)
    guide = MeanFieldNormal(model, init_scale=0.4, local_reparameterization=local)
    y = torch.ones(6, 1)
    loc, log_scale = (p.detach().clone().requires_grad_() for p in guide.parameters())
    squares = (y - F.linear(X, loc)).square() + F.linear(X.square(), torch.exp(2 * log_scale))
    kl = (torch.exp(2 * log_scale) + loc.square()) / (2 * 0.25) - log_scale
    exact = torch.autograd.grad(12 / 6 * squares.sum() / 2 + kl.sum(), (loc, log_scale))
    draws = []
    for _ in range(200):
        guide.zero_grad()
        Trace_ELBO().loss_and_grads(model, guide, X, y)
        draws.append(torch.cat([p.grad for p in guide.parameters()]))
    draws = torch.stack(draws)
    error = (draws.mean(0) - torch.cat(exact)).abs() / (draws.std(0) / math.sqrt(len(draws)))
    assert error.max() < SIGMAS


def test_terms():
    """Without noise the expected log likelihood is that at the means, for all data."""
    model, guide = pair(num_data=60)
    with noise_from(lambda shape, like: torch.zeros(shape)):
        terms = ELBO().terms(model, guide, X, Y)
    expected = -10 * F.cross_entropy(model.trained()(X), Y, reduction="sum")
    torch.testing.assert_close(terms.expected_log_likelihood, expected)
    assert terms.kl.keys() == {"0.weight", "2.weight"}
    torch.testing.assert_close(terms.total_kl, terms.kl["0.weight"] + terms.kl["2.weight"])
    torch.testing.assert_close(terms.loss, terms.total_kl - terms.expected_log_likelihood)


def test_the_mini_batch_scale_leaves_the_kl_alone():
    small, large = (pair(num_data=n)[0] for n in (6, 600))
    guide = MeanFieldNormal(small)
    one, hundred = (ELBO().terms(model, guide, X, Y) for model in (small, large))
    assert one.total_kl.equal(hundred.total_kl)


def test_num_particles_average():
    model, guide = pair(init_scale=0.5)
    pyro.set_rng_seed(1)
    mean = ELBO(num_particles=3).loss(model, guide, X, Y)
    pyro.set_rng_seed(1)
    losses = [ELBO().loss(model, guide, X, Y) for _ in range(3)]
    assert mean == pytest.approx(sum(losses) / 3) and len(set(losses)) == 3


def test_kl_weights_are_scales_on_both_sides():
    """As in Pyro: poutine.scale around model and guide; here around the whole of both."""
    model, guide = pair()
    whole = ELBO().terms(model, guide, X, Y)
    scaled = [poutine.scale(fn, 0.25) for fn in (model, guide)]
    losses = []
    for loss in (ELBO(), TraceMeanField_ELBO()):
        pyro.set_rng_seed(1)
        losses.append(loss.loss(*scaled, X, Y))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(ELBO().terms(*scaled, X, Y).total_kl, 0.25 * whole.total_kl)


def test_a_missing_kl_names_the_site_and_families():
    model = pair()[0]

    def guide(x, y):
        for name, value in model.initial_weights().items():
            family = Cauchy if name == "2.weight" else Normal
            pyro.sample(name, family(value, 0.1).to_event(2))

    with pytest.raises(NotImplementedError, match=r"'2.weight'.*KL\(Cauchy \|\| Normal\)"):
        ELBO().terms(model, guide, X, Y)


def test_a_missing_site_is_named():
    model = pair()[0]

    def guide(x, y):
        value = model.initial_weights()["0.weight"]
        pyro.sample("0.weight", Normal(value, 0.1).to_event(2))

    with pytest.raises(ValueError, match=r"the guide does not draw '2.weight'"):
        ELBO().terms(model, guide, X, Y)

    def of_functions():
        pyro.sample("0.weight", Normal(torch.zeros(3, 4), 1.0).to_event(2))
        pyro.sample("2.weight", Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"the guide has no site '2.weight'"):
        ELBO().terms(of_functions, lambda: guide(X, Y))


@pytest.mark.parametrize("kind", [AutoNormal, AutoLowRankMultivariateNormal])
def test_auxiliary_sites_are_refused(kind):
    model = pair()[0]
    with pytest.raises(NotImplementedError, match=r"not in the model.*Trace_ELBO"):
        ELBO().terms(model, kind(model), X, Y)


def test_an_auto_delta_is_a_point():
    """It has no auxiliary site, so the strict bound takes it."""
    model = pair()[0]
    guide = AutoDelta(model)
    ours, theirs = (loss.loss(model, guide, X, Y) for loss in (ELBO(), TraceMeanField_ELBO()))
    assert ours == pytest.approx(theirs, rel=1e-5)
