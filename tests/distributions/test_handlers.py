"""Pyro's other ways to run a pair: each works, or says in one sentence what to do."""

import bitsback
import pyro
import pytest
import torch
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    JitTrace_ELBO,
    JitTraceMeanField_ELBO,
    Predictive,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from pyro.infer.autoguide import AutoNormal
from pyro.infer.importance import vectorized_importance_weights
from pyro.infer.inspect import get_model_relations
from torch import nn

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
MODELS = (
    "BayesianBits", "Gaussian", "HardConcrete", "Horseshoe", "Laplace", "LogUniform",
    "NormalJeffreys", "Rate", "ScaleMixture", "SoftSharing",
)  # fmt: skip

# Torch's own, of the tracer.
of_torch = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def net():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def pair(prior="Gaussian", guide="MeanFieldNormal"):
    model = getattr(bitsback.models, prior)(net(), 40)
    return model, getattr(bitsback.guides, guide)(model)


def step(loss, model, guide):
    return SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss).step(X, Y)


AT_ONCE = {
    "Trace_ELBO": Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    "TraceMeanField_ELBO": TraceMeanField_ELBO(
        num_particles=3, vectorize_particles=True, max_plate_nesting=1
    ),
}


@pytest.mark.parametrize("loss", AT_ONCE)
@pytest.mark.parametrize(
    "prior, guide",
    [("Gaussian", "MeanFieldNormal"), ("Horseshoe", "Horseshoe"), ("Rate", "Rounding")],
)
def test_many_particles_at_once_are_refused(loss, prior, guide):
    with pytest.raises(NotImplementedError, match=r"one draw.*vectorize_particles=False"):
        step(AT_ONCE[loss], *pair(prior, guide))


def test_so_are_those_of_pyros_guides_and_functions():
    model = bitsback.models.Horseshoe(net(), 40, tau0=0.1)
    with pytest.raises(NotImplementedError, match="vectorize_particles=False"):
        step(AT_ONCE["Trace_ELBO"], model, AutoNormal(model))
    with pytest.raises(NotImplementedError, match="one draw of its weights at a time"):
        vectorized_importance_weights(*pair(), X, Y, num_samples=3, max_plate_nesting=1)
    model, guide = pair()
    with pytest.raises(NotImplementedError, match=r"Predictive\(parallel=False\)"):
        Predictive(model, guide=guide, num_samples=5, parallel=True)(X)
    assert Predictive(model, guide=guide, num_samples=5)(X)["y"].shape == (5, 40)


@of_torch
@pytest.mark.parametrize("loss", [JitTrace_ELBO, JitTraceMeanField_ELBO])
def test_the_jit_is_refused(loss):
    with pytest.raises(NotImplementedError, match=r"torch\.jit cannot trace.*without Jit"):
        step(loss(), *pair())


@of_torch
def test_the_jit_is_refused_for_nuts():
    mcmc = MCMC(NUTS(pair()[0], jit_compile=True), 2, warmup_steps=2, disable_progbar=True)
    with pytest.raises(NotImplementedError, match=r"torch\.jit cannot trace"):
        mcmc.run(X, Y)


@pytest.mark.parametrize("prior", MODELS)
def test_a_picture_of_the_model_has_its_sites_and_what_they_depend_on(prior):
    """`pyro.render_model` draws these relations, which need no Graphviz."""
    model = getattr(bitsback.models, prior)(net(), 40)
    relations = get_model_relations(model, (X, Y))
    above = set(relations["sample_sample"]["y"])
    assert all(any(site.startswith(name) for site in above) for name in model.weight_names)
    assert relations["plate_sample"] == {"data": ["y"]}
    assert "net.2.bias" in relations["param_constraint"]


@pytest.mark.parametrize("prior", ["LogUniform", "NormalJeffreys", "HardConcrete", "BayesianBits"])
def test_elsewhere_what_cannot_be_sampled_says_so(prior):
    with pytest.raises(NotImplementedError, match="sampled"):
        getattr(bitsback.models, prior)(net(), 40)(X, Y)
