"""The group normal-Jeffreys prior: its marginal, its moments and KL, and who may use it."""

import math

import pyro
import pytest
import torch
from bitsback.distributions.log_uniform_kl import exact_kl
from bitsback.guides import ELBO, MeanFieldNormal, NormalJeffreys, posterior_of
from bitsback.models import NormalJeffreys as Model
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.distributions import Normal, kl_divergence

X, Y = torch.eye(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
WHY = "log-uniform prior p.w. = 1/.w. is improper"
SITES = ("scale", "base")
SIGMAS = 5  # of seeded draws: another seed fails with probability 6e-7 for each number compared


class Convolutional(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(3, 2)
        )


def make(net=None):
    net = net or nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    model = Model(net, 6)
    return model, scattered(NormalJeffreys(model))


def scattered(guide):
    """Parameters of all sizes, so that every term of a formula counts."""
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            width = 0.5 if name.startswith("loc") else 0.3
            parameter.add_(width * torch.randn_like(parameter))
            if name.startswith("log_scale"):
                parameter.add_(1.3)
    return guide


@pytest.mark.parametrize("net", [None, Convolutional()])
def test_sites(net):
    """Input units of dense layers, output maps of convolutions."""
    model, guide = make(net)
    nodes = pyro.poutine.trace(pyro.poutine.condition(model, guide(X))).get_trace(X, Y).nodes
    for name, weight in model.initial_weights().items():
        groups = weight.shape[1] if weight.dim() == 2 else weight.shape[0]
        assert nodes[f"{name}.scale"]["value"].shape == (groups,)
        assert nodes[f"{name}.base"]["value"].shape == weight.shape
        assert nodes[name]["is_observed"] and nodes[name]["infer"]["_deterministic"]
        assert guide.posterior().weights[name].groups[0].axis == (1 if weight.dim() == 2 else 0)


def test_kl():
    model, guide = make()
    kl = ELBO().terms(model, guide, X, Y).kl
    assert kl.keys() == {f"{n}.{part}" for n in ("0.weight", "2.weight") for part in SITES}
    for name in model.weight_names:
        z, base = (
            (guide.get_parameter(f"loc.{name}.{p}"), guide.get_parameter(f"log_scale.{name}.{p}"))
            for p in SITES
        )
        torch.testing.assert_close(kl[f"{name}.scale"], exact_kl(*z).sum())
        expected = kl_divergence(Normal(base[0], base[1].exp()), Normal(0.0, 1.0)).sum()
        torch.testing.assert_close(kl[f"{name}.base"], expected)


@pytest.mark.parametrize("net", [None, Convolutional()])
def test_moments_are_those_of_draws(net):
    _, guide = make(net)
    nodes = pyro.poutine.trace(guide).get_trace().nodes
    for name, weight in guide.posterior().weights.items():
        z, base = (nodes[f"{name}.{part}"]["fn"].sample((20_000,)).double() for part in SITES)
        along = (-1, 1, weight.loc.shape[1]) if weight.loc.dim() == 2 else (*z.shape, 1, 1, 1)
        sample = base * z.reshape(along)
        stderr = sample.std(0) / math.sqrt(len(sample))
        assert ((sample.mean(0) - weight.loc).abs() / stderr).max() < SIGMAS
        squares = (sample - weight.loc).square()
        stderr = squares.std(0) / math.sqrt(len(sample))
        assert ((squares.mean(0) - weight.stddev.square()).abs() / stderr).max() < SIGMAS


def test_log_alpha_is_that_of_a_product():
    """alpha = alpha_base + alpha_z + alpha_base alpha_z; the score is log alpha_z."""
    _, guide = make()
    for name, weight in guide.posterior().weights.items():
        z, base = (
            (2 * guide.get_parameter(f"log_scale.{name}.{p}")).exp()
            / guide.get_parameter(f"loc.{name}.{p}").square()
            for p in SITES
        )
        torch.testing.assert_close(weight.log_alpha, (base + z + base * z).log())
        torch.testing.assert_close(weight.groups[0].score, z.log())


def test_the_marginal_of_a_group_is_a_power_of_its_norm():
    """The integral over z of prod N(w_i | 0, z^2) / z, which is c |w|^-n: not prod 1/|w_i|."""
    log_z = torch.linspace(-30, 30, 20_001, dtype=torch.float64)  # dz / z = d log z
    for n in (1, 2, 5):
        w = torch.randn(n, dtype=torch.float64)
        marginals = []
        for factor in (1.0, 3.0):
            log_p = Normal(0.0, log_z.exp()).log_prob(factor * w[:, None]).sum(0)
            marginals.append(torch.trapezoid(log_p.exp(), log_z))
        turned = torch.zeros(n, dtype=torch.float64)
        turned[0] = w.norm()
        log_p = Normal(0.0, log_z.exp()).log_prob(turned[:, None]).sum(0)
        torch.testing.assert_close(marginals[1] / marginals[0], torch.tensor(3.0**-n).double())
        torch.testing.assert_close(torch.trapezoid(log_p.exp(), log_z), marginals[0])


def test_gradients_agree_with_pyros_own():
    model, guide = make(Convolutional())
    results = []
    for loss in (ELBO(), TraceMeanField_ELBO()):
        pyro.set_rng_seed(3)
        guide.zero_grad()
        value = loss.loss_and_grads(model, guide, X, Y)
        results.append([torch.tensor(value), *(p.grad.clone() for p in guide.parameters())])
    torch.testing.assert_close(*results)


def test_max_scale():
    """A smooth bound: 1 / (1/scale + 1/bound); far below it nothing changes."""
    model = Model(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), 6)
    guide = NormalJeffreys(model, init_scale=0.1, max_scale={"0.weight": 0.2})
    kl, free = ELBO().terms(model, guide, X, Y).kl, Normal(0.0, 1.0)
    bounded = {"0.weight.base": 1 / (1 / 0.1 + 1 / 0.2), "1.weight.base": 0.1}
    for site, scale in bounded.items():
        q = Normal(guide.get_parameter(f"loc.{site}"), scale)
        torch.testing.assert_close(kl[site], kl_divergence(q, free).sum())
    guide.get_parameter("log_scale.0.weight.base").data.fill_(20.0)
    assert guide.quantiles([0.5, 0.841345])["0.weight.base"].diff(dim=0).max() <= 0.2001
    kl = ELBO().terms(model, guide, X, Y).kl["0.weight.base"]
    assert kl.isfinite()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"init_scale": 0.0}, "init_scale must be positive; got 0.0"),
        ({"max_scale": {"weight": 1.0}}, "'weight' is no latent weight; known: 0.weight"),
        ({"max_scale": -1.0}, "max_scale of '0.weight' must be positive; got -1.0"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        NormalJeffreys(Model(nn.Sequential(nn.Linear(4, 2)), 6), **options)


def svi(guide_class, loss):
    model = make()[0]
    SVI(model, guide_class(model), pyro.optim.Adam({"lr": 1e-3}), loss()).step(X, Y)


REFUSED = {
    "AutoNormal": lambda: svi(AutoNormal, Trace_ELBO),
    "Trace_ELBO": lambda: svi(NormalJeffreys, Trace_ELBO),
    "NUTS": lambda: MCMC(NUTS(make()[0]), 2, warmup_steps=2, disable_progbar=True).run(X, Y),
}


def test_a_guide_of_the_weights_themselves_is_refused():
    with pytest.raises(ValueError, match=r"MeanFieldNormal takes .*NormalJeffreys has no latent"):
        MeanFieldNormal(make()[0])


@pytest.mark.parametrize("name", REFUSED)
def test_guides_without_a_closed_form_are_refused(name):
    with pytest.raises(NotImplementedError, match=WHY):
        REFUSED[name]()


def test_draws_are_refused():
    with pytest.raises(ValueError, match="NormalJeffreys has an improper prior"):
        posterior_of({"0.weight": torch.zeros(5, 3, 4)}, make()[0])
