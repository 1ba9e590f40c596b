"""Learned ranges at fixed widths: where LSQ and PACT start, and what gradients they give."""

import math

import pyro
import pytest
import torch
from bitsback.distributions.quantiser import step_of
from bitsback.guides import ELBO, GateChain
from bitsback.models import BayesianBits
from bitsback.models.core.names import key
from bitsback.models.ranges import lsq_range, measured
from pyro.infer import SVI
from torch import nn

X, Y = torch.linspace(-1, 1, 20 * 6).reshape(20, 6).sin(), torch.arange(20) % 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def fixed(width: int, ranges: str = "published") -> tuple[BayesianBits, GateChain]:
    model = BayesianBits(net(), 20, widths=(width,), prune=False, bits=False, ranges=ranges)
    model.measure(X)
    return model, GateChain(model)


def test_macs_and_outputs_of_a_pass():
    layers = net()
    weights = {"0.weight": layers[0].weight, "2.weight": layers[2].weight}
    found, hidden = measured(layers, weights, ["1"], X), layers[0](X).relu()
    assert found.macs == {"0.weight": 48.0, "2.weight": 24.0}
    assert found.largest["1"] == hidden.max() and found.mean["1"] == hidden.mean()


@pytest.mark.parametrize(("width", "most"), [(2, 1), (4, 7), (8, 127)])
def test_lsq_starts_at_its_published_step(width, most):
    mean = torch.tensor(0.3)
    step = step_of(lsq_range(mean, width, signed=True), width, signed=True)
    assert step.item() == pytest.approx(0.6 / math.sqrt(most))
    step = step_of(lsq_range(mean, width, signed=False), width, signed=False)
    assert step.item() == pytest.approx(0.6 / math.sqrt(2**width - 1))


@pytest.mark.parametrize("signed", [True, False])
def test_lsq_scales_the_gradient_by_values_and_largest_code(signed):
    site, x = ("2.weight", torch.randn(3, 8)) if signed else ("1", torch.randn(20, 8))
    gradients = {}
    for ranges in ("published", "lsq"):
        model, _ = fixed(4, ranges)
        with torch.no_grad():
            for reach in model.log_range.values():
                reach.zero_()
        value = model.quantised(site, x, torch.ones(0))
        value.pow(2).sum().backward()
        gradients[ranges] = model.log_range[key(site)].grad
    scale = (24 * 7) ** -0.5 if signed else (8 * 15) ** -0.5
    torch.testing.assert_close(gradients["lsq"], scale * gradients["published"])


def test_pact_learns_the_range_of_relus_from_clipped_values():
    model, _ = fixed(4, "pact")
    torch.testing.assert_close(model.reach("1"), net()[0](X).relu().max())
    x = torch.tensor([[0.1, 9.0], [0.2, 8.0]])
    model.quantised("1", x, torch.ones(0)).sum().backward()
    # Of the logarithm of the range, so times the range.
    torch.testing.assert_close(model.log_range["1"].grad, 2 * model.reach("1").detach())


@pytest.mark.parametrize("ranges", ["published", "lsq", "pact"])
def test_a_fixed_width_trains_and_has_its_bops(ranges):
    model, guide = fixed(4, ranges)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), ELBO())
    losses = [svi.step(X, Y) for _ in range(40)]
    assert losses[-1] < losses[0]
    assert not guide.inclusions() and {bits for _, bits in guide.states().values()} == {4}
    found = sum(guide.bops().values()).item()
    assert found == pytest.approx((48 * 4 * 8 + 24 * 4 * 4) / (72 * 1024))
    posterior = guide.posterior()
    assert posterior.activations["1"].bits == 4
    assert all(p.grad is not None for p in model.log_range.parameters())
    for weight in posterior.weights.values():
        assert len(weight.grid.codebook) <= 15
