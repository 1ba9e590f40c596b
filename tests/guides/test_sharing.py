"""Guides over models with a mixture: points for centers, and the grid that compression takes."""

import bitsback
import pyro
import pytest
import torch
from bitsback import guides, models
from bitsback.guides import ELBO, MeanFieldNormal, PointMass, SharedPoints
from bitsback.methods import METHODS
from bitsback.models import Gaussian, LogUniform, SoftSharing
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDelta
from torch import nn

X, Y = torch.linspace(-1, 1, 24).reshape(6, 4), torch.arange(6) % 2
OPTIONS = {"components": 5, "weight": 1.0, "zero_proportion": 0.5}


def net():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


PAIRS = {
    "points": lambda: (model := SoftSharing(net(), 6, mixture=OPTIONS), SharedPoints(model)),
    "normals": lambda: (model := LogUniform(net(), 6, mixture=OPTIONS), MeanFieldNormal(model)),
    "centers of points": lambda: (model := Gaussian(net(), 6, mixture=OPTIONS), PointMass(model)),
    "normal-Jeffreys": lambda: (
        model := models.NormalJeffreys(net(), 6, mixture=OPTIONS),
        guides.NormalJeffreys(model),
    ),
    "horseshoe": lambda: (
        model := models.Horseshoe(net(), 6, mixture=OPTIONS),
        guides.Horseshoe(model),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_sites(name):
    """The same in guide and model, in the same order; centers at E_q[w]."""
    model, guide = PAIRS[name]()
    traces = [poutine.trace(p).get_trace(X, Y) for p in (guide, model)] if name == "points" else []
    traces = traces or [poutine.trace(guide).get_trace(X, Y)]
    sites = [n for n, s in traces[0].nodes.items() if s["type"] == "sample"]
    replayed = poutine.trace(poutine.replay(model, trace=traces[0])).get_trace(X, Y)
    latent = [n for n in replayed.stochastic_nodes if n not in ("data", "y")]
    assert sites == latent and "mixture.precision" in sites
    for weight, moments in guide.posterior().weights.items():
        center = traces[0].nodes.get(f"{weight}.center")
        assert (center is None) == (name == "points")
        assert center is None or torch.allclose(center["value"], moments.loc, rtol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_plain_svi_trains_the_mixture(name):
    model, guide = PAIRS[name]()
    before = [p.clone() for p in (*model.mixture.parameters(), *guide.sharing.parameters())]
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), TraceMeanField_ELBO())
    for _ in range(2):
        svi.step(X, Y)
    after = [*model.mixture.parameters(), *guide.sharing.parameters()]
    assert not any(a.equal(b) for a, b in zip(after, before, strict=True))
    assert not any("mixture" in key for key in guide.state_dict())  # the model's, once


@pytest.mark.parametrize("name", PAIRS)
def test_grid(name):
    """The means, ascending, exactly 0 among them; each weight's is its most responsible one's."""
    model, guide = PAIRS[name]()
    with torch.no_grad():
        model.mixture.logits.normal_()
        model.mixture.steps[[0, 1]] = model.mixture.steps[[1, 0]]  # no longer ascending
    density = model.mixture.density(model.mixture.initial_precision())
    for weight in guide.posterior().weights.values():
        codebook, codes = weight.grid.codebook, weight.grid.codes
        assert len(codebook) == 5 and codebook.diff().gt(0).all() and codebook.eq(0).sum() == 1
        expected = density.locs[density.codes(weight.loc)]
        assert codebook[codes].equal(expected) and not codebook.requires_grad
        assert weight.inclusion.eq(1).all()
        if name == "points":
            assert weight.log_alpha.equal(density.log_odds(weight.loc)) and not weight.stddev.any()


def test_equal_components_are_one_value():
    """And one that merges with component 0 has its mean, exactly 0; other scales do not merge."""
    model, guide = PAIRS["normals"]()
    with torch.no_grad():
        model.mixture.steps[1] = model.mixture.steps[0]
        model.mixture.steps[2] = 0.0
        guide.sharing.log_precision[0] = 5.0
        guide.sharing.log_precision[1:] = 7.0
        assert len(guide.posterior().weights["0.weight"].grid.codebook) == 4
        guide.sharing.log_precision[3] = 5.0
    codebook = guide.posterior().weights["0.weight"].grid.codebook
    assert len(codebook) == 3 and (codebook == 0).sum() == 1


def test_without_a_mixture_there_is_no_grid():
    guide = MeanFieldNormal(Gaussian(net(), 6))
    assert guide.sharing is None
    assert all(w.grid is None for w in guide.posterior().weights.values())


def test_two_phases():
    """The second starts at the moments of the first, and its mixture at their means."""
    first = METHODS["log-uniform"].pair(net(), 6)[1]
    with torch.no_grad():
        for p in first.parameters():
            p.add_(torch.rand_like(p))
    posterior = first.posterior()
    assert METHODS["log-uniform-mixture"].start == "log-uniform"
    model, guide = METHODS["log-uniform-mixture"].pair(net(), 6, start=posterior)
    means = torch.cat([w.loc.flatten() for w in posterior.weights.values()])
    assert model.mixture.locs().max().item() == pytest.approx(means.abs().max().item())
    for name, weight in guide.posterior().weights.items():
        assert weight.loc.equal(posterior.weights[name].loc)
        torch.testing.assert_close(weight.stddev, posterior.weights[name].stddev)


def test_mixture_pulls_weights_together():
    """Without data's say, points end at a few values; compression puts them there exactly."""
    model = SoftSharing(net(), 1, mixture=OPTIONS | {"precision": (250.0, 0.02)})
    guide = SharedPoints(model)
    optimizer = torch.optim.Adam([*guide.parameters(), *model.mixture.parameters()], 1e-2)
    x, y = 0 * X[:1], Y[:1]
    for _ in range(150):
        optimizer.zero_grad()
        ELBO().differentiable_loss(model, guide, x, y).backward()
        optimizer.step()
    for weight in guide.posterior().weights.values():
        assert (weight.loc - weight.grid.codebook[weight.grid.codes]).abs().max() < 0.01
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(x, y), quantiser="grid"
    )
    assert result.report["quantiser"]["kind"] == "grid"


def test_pyros_autodelta_trains_soft_sharing():
    model = SoftSharing(net(), 6, mixture=OPTIONS)
    svi = SVI(model, AutoDelta(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert svi.step(X, Y) > svi.step(X, Y)


def test_points_need_a_mixture():
    with pytest.raises(ValueError, match="Gaussian has no mixture to share: use PointMass"):
        SharedPoints(Gaussian(net(), 6))


def test_normals_do_not_share_the_points_of_a_mixture():
    with pytest.raises(ValueError, match=r"MeanFieldNormal takes .*SoftSharing"):
        MeanFieldNormal(SoftSharing(net(), 6))
