"""Gates on weights: moments, gates of each example, what is refused."""

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import ELBO, HardConcreteGates
from bitsback.models import HardConcrete
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


X, Y = torch.linspace(-1, 1, 20 * 16).reshape(20, 1, 4, 4), torch.arange(20) % 3


@pytest.mark.parametrize("gates", ["groups", "weights"])
def test_inclusion_is_the_share_of_open_gates(gates):
    """2,000 draws, to 4.5 standard errors."""
    guide = HardConcreteGates(HardConcrete(net(), 20, gates=gates), init_inclusion=0.7)
    draws = [guide() for _ in range(2_000)]
    for name, weight in guide.posterior().weights.items():
        opened = torch.stack([torch.clone(d[f"{name}.gate"]) > 0 for d in draws]).float().mean(0)
        if gates == "groups":
            shape = [1] * weight.loc.dim()
            shape[0 if weight.loc.dim() > 2 else 1] = -1
            opened = opened.reshape(shape).expand(weight.loc.shape)
        inclusion = weight.inclusion.expand_as(opened)
        torch.testing.assert_close(inclusion, opened, atol=0.05, rtol=0)


def outputs_of(model, guide, x) -> torch.Tensor:
    """The network's outputs, one for each example, under one run of the guide."""
    replayed = pyro.poutine.replay(model, trace=pyro.poutine.trace(guide).get_trace())
    return pyro.poutine.trace(replayed).get_trace(x).nodes["y"]["fn"].base_dist.loc


def test_gates_of_groups_are_drawn_for_each_example():
    linear = nn.Linear(2, 1, bias=False)
    nn.init.ones_(linear.weight)
    model = HardConcrete(linear, 400, likelihood="normal")
    guide = HardConcreteGates(model, init_inclusion=0.5)
    outputs = outputs_of(model, guide, torch.ones(400, 2))
    assert len(outputs.unique()) > 100  # one gate a step would give one output


def test_local_gates_have_the_expectation_of_honest_ones():
    """Mean output over gates, and its gradient, against E[gate] in closed form: 40,000 examples.

    The standard error of the mean is below 0.004; five of them fail once in 10^6 runs.
    """
    linear = nn.Linear(3, 2)
    model = HardConcrete(linear, 1, likelihood="normal")
    guide = HardConcreteGates(model, init_inclusion=0.6)
    x = torch.ones(40_000, 3)
    mean = outputs_of(model, guide, x).mean(0)
    exact = linear.bias + guide.posterior().weights["weight"].loc.sum(1)
    torch.testing.assert_close(mean, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("relaxation", ["hard-concrete", "concrete", "straight-through"])
@pytest.mark.parametrize("gates", ["groups", "weights"])
def test_every_option_trains_and_prunes_what_is_useless(gates, relaxation):
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    y = (x[:, 0] > 0).long()
    linear = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    model = HardConcrete(linear, 200, cost=2.0, gates=gates)
    guide = HardConcreteGates(model, relaxation=relaxation)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.05}), ELBO())
    for _ in range(300):
        svi.step(x, y)
    inclusion = guide.posterior().weights["1.weight"].inclusion.expand(2, 6)
    assert (inclusion[:, 0].amax() > 0.9) and (inclusion[:, 1:] < 0.5).all()
    result = bitsback.compress(model.trained(), guide.posterior(), validation=(x, y))
    assert 1 <= result.report["layers"][0]["kept"] <= 2


def test_trace_elbo_and_other_guides_are_refused():
    model = HardConcrete(net(), 20)
    guide = HardConcreteGates(model)
    with pytest.raises(NotImplementedError, match="no log density"):
        SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(X, Y)
    with pytest.raises(NotImplementedError, match="cannot be sampled"):
        auto = AutoNormal(model)
        SVI(model, auto, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(X, Y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HardConcrete(net(), 20, cost=-1.0), "cost"),
        (lambda: HardConcrete(net(), 20, slab=0.0), "slab"),
        (lambda: HardConcrete(net(), 20, gates="rows"), "gates"),
        (lambda: HardConcreteGates(HardConcrete(net(), 20), init_inclusion=1.0), "init_inclusion"),
        (lambda: HardConcreteGates(HardConcrete(net(), 20), init_inclusion=0.9999), "beyond"),
        (lambda: HardConcreteGates(HardConcrete(net(), 20), relaxation="x"), "relaxation"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
