"""Pairs whose latent sites differ are refused at their first step, whoever wrote the guide."""

import bitsback
import pyro
import pytest
import torch
from pyro.distributions import Normal
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from torch import nn

LOSSES = (Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, bitsback.ELBO)


def net(*more):
    return nn.Sequential(*more, nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def step(model, guide, loss):
    x = torch.randn(40, 4)
    return SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss()).step(x, x[:, :3].argmax(1))


def first_layer(x, y):
    pyro.sample("0.weight", Normal(torch.zeros(5, 4), 1.0).to_event(2))


def one_too_many(x, y):
    first_layer(x, y)
    pyro.sample("2.weight", Normal(torch.zeros(3, 5), 1.0).to_event(2))
    pyro.sample("bias", Normal(0.0, 1.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_sites_that_one_of_the_two_lacks_are_named(loss):
    model = bitsback.models.Gaussian(net(), 40)
    other = bitsback.models.Gaussian(net(nn.Identity()), 40)
    with pytest.raises(ValueError, match=r"does not draw '0\.weight'.*not sample '1\.weight'"):
        step(model, bitsback.guides.MeanFieldNormal(other), loss)
    with pytest.raises(ValueError, match=r"the guide does not draw '2\.weight'\. Make"):
        step(model, first_layer, loss)
    with pytest.raises(ValueError, match=r"the model does not sample 'bias'"):
        step(model, one_too_many, loss)


@pytest.mark.parametrize("auto", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal])
def test_pyros_guides_have_sites_of_their_own(auto):
    model = bitsback.models.Horseshoe(net(), 40, tau0=0.1)
    step(model, auto(model), Trace_ELBO)


@pytest.mark.parametrize("auto", [AutoNormal, AutoMultivariateNormal])
def test_integers_have_no_density_for_pyros_guides(auto):
    model = bitsback.models.Rate(net(), 40)
    with pytest.raises(ValueError, match=r"use guides\.Rounding"):
        step(model, auto(model), Trace_ELBO)


@pytest.mark.parametrize(
    "auto", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal, AutoDelta]
)
@pytest.mark.parametrize("prior", ["Gaussian", "Horseshoe"])
def test_centers_of_a_mixture_are_not_free_for_pyros_guides(prior, auto):
    """Centers of their own would leave the weights without the mixture, and without a grid."""
    model = getattr(bitsback.models, prior)(net(), 40, mixture={"components": 3})
    with pytest.raises(
        NotImplementedError, match=r"use guides\.MeanFieldNormal .*models\.SoftSharing"
    ):
        step(model, auto(model), Trace_ELBO)


def test_nuts_does_not_sample_centers():
    model, x = bitsback.models.Gaussian(net(), 40, mixture={"components": 3}), torch.randn(40, 4)
    mcmc = pyro.infer.MCMC(pyro.infer.NUTS(model), 2, warmup_steps=2, disable_progbar=True)
    with pytest.raises(NotImplementedError, match=r"use guides\.MeanFieldNormal"):
        mcmc.run(x, x[:, :3].argmax(1))


def test_soft_sharing_takes_pyros_guides():
    model = bitsback.models.SoftSharing(net(), 40)
    step(model, AutoNormal(model), Trace_ELBO)


def test_nuts_does_not_sample_integers():
    model, x = bitsback.models.Rate(net(), 40), torch.randn(40, 4)
    kernel = pyro.infer.NUTS(model, jit_compile=False)
    mcmc = pyro.infer.MCMC(kernel, 2, warmup_steps=2, disable_progbar=True)
    with pytest.raises(ValueError, match=r"use guides\.Rounding"):
        mcmc.run(x, x[:, :3].argmax(1))


def test_a_continuous_guide_written_by_hand_has_no_integers():
    model = bitsback.models.Rate(net(), 40)

    def guide(x, y):
        first_layer(x, y)
        pyro.sample("2.weight", Normal(torch.zeros(3, 5), 1.0).to_event(2))

    with pytest.raises(ValueError, match=r"use guides\.Rounding"):
        step(model, guide, Trace_ELBO)
    step(model, bitsback.guides.Rounding(model), Trace_ELBO)
