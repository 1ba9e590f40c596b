"""Dead units: which they are, and that nothing changes without them but the work."""

import math

import bitsback
import pytest
import torch
from bitsback.guides import Rounding
from bitsback.models import Rate
from bitsback.models.living import chain_of, living
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


def conv() -> nn.Sequential:
    """No ReLU behind the convolutions, as in Caffe's LeNet-5."""
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1))
    return nn.Sequential(first, nn.Flatten(), nn.Linear(45, 6), nn.ReLU(), nn.Linear(6, 3))


INPUTS = {dense: (6,), conv: (1, 8, 8)}


def pair(make, dead_inputs=(), dead_outputs=()):
    """A pair whose integers are those of weights with zeros where units are to die."""
    torch.manual_seed(0)
    net = make()
    chain = chain_of(net, tuple(k for k, _ in net.named_parameters() if k.endswith("weight")))
    with torch.no_grad():
        for at, unit in dead_inputs:
            net.get_parameter(chain[at].weight)[unit] = 0
            net.get_submodule(chain[at].module).bias[unit] = -0.1 if chain[at].rectified else 0
        for at, unit in dead_outputs:
            weight, count = net.get_parameter(chain[at + 1].weight), None
            count = weight.shape[1] // len(net.get_parameter(chain[at].weight))
            weight[:, unit * count : (unit + 1) * count] = 0
    model = Rate(net, 60, coarseness=0.01)
    return model, Rounding(model)


def x_of(make) -> torch.Tensor:
    return torch.randn(20, *INPUTS[make], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", INPUTS)
def test_nothing_changes_but_the_work(make):
    """Three of the first layer's units die, one of them for want of inputs: outputs stay."""
    model, guide = pair(make, [(0, 0)], [(0, 1), (0, 2)])
    x = x_of(make)
    with FlopCounterMode(display=False) as before:
        expected = model.output(x, guide.median())
    widths = model.arithmetic()
    guide.after_epoch()
    assert model.arithmetic() == (widths[0] - 3, *widths[1:])
    with FlopCounterMode(display=False) as after:
        found = model.output(x, guide.median())
    torch.testing.assert_close(found, expected)
    assert after.get_total_flops() < 0.7 * before.get_total_flops()


def test_death_spreads():
    """A unit that only a dead one read is dead as well."""
    model, guide = pair(dense, (), [(1, u) for u in range(4)])
    with torch.no_grad():
        guide.loc.get_submodule("2").weight[4:, :5] = 0
    guide.after_epoch()
    assert model.arithmetic() == (3, 3, 3)
    assert model.alive()["0.weight"].tolist() == [False] * 5 + [True] * 3


def test_a_bias_keeps_a_unit_without_inputs_alive():
    chain = chain_of(dense(), ("0.weight", "2.weight", "4.weight"))
    weights = {k: v for k, v in dense().state_dict().items() if k.endswith("weight")}
    weights["0.weight"][0] = 0
    everything = {k: torch.ones(len(v), dtype=torch.bool) for k, v in weights.items()}
    for bias, alive in ((0.1, True), (0.0, False), (-0.1, False)):
        biases = {"0": torch.full((8,), bias)}
        assert living(chain, weights, biases, everything)["0.weight"][0].item() is alive
    chain = tuple(type(link)(link.module, False) for link in chain)  # as if without ReLUs
    for bias, alive in ((0.1, True), (0.0, False), (-0.1, True)):
        biases = {"0": torch.full((8,), bias)}
        assert living(chain, weights, biases, everything)["0.weight"][0].item() is alive


def test_a_layer_is_never_left_empty():
    model, guide = pair(dense, (), [(0, u) for u in range(8)])
    guide.after_epoch()
    assert model.arithmetic() == (8, 7, 3)


def test_few_units_are_not_worth_a_new_step():
    model, guide = pair(dense, (), [(0, 0)])
    guide.after_epoch()
    assert model.arithmetic() == (8, 7, 3)


@pytest.mark.parametrize("make", INPUTS)
def test_what_is_removed_stays_zero_and_free(make):
    """Whatever the parameters do afterwards; no gradient reaches them, and the file agrees."""
    model, guide = pair(make, (), [(0, 0), (0, 1), (0, 2)])
    guide.after_epoch()
    first, second = model.chain[0].weight, model.chain[1].weight
    with torch.no_grad():
        for name in (first, second):
            guide._get("loc", name).add_(1.0)
    model.zero_grad()
    guide.zero_grad()
    x, y = x_of(make), torch.arange(20) % 3
    bitsback.ELBO().differentiable_loss(model, guide, x, y).backward()
    assert not guide._get("loc", first).grad[:3].any()
    assert not guide._get("loc", second).grad[:, :3].any()
    assert guide._get("loc", first).grad[3:].any()
    levels = guide.levels()
    assert not levels[first][:3].any() and not levels[second][:, :3].any()
    assert levels[first][3:].any()
    prices = model.prior(first, levels[first]).price(levels[first])
    assert prices[:3].sum() < 1e-3 < prices[3:].sum()
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(x, y), quantiser="grid", prune="none",
        margin_nll=math.inf, margin_error=math.inf,
    )  # fmt: skip
    # The first layer's inputs and the other layer's outputs may be fewer still.
    assert result.archive.tensors[first].codes.shape[0] <= len(levels[first]) - 3


def test_other_networks_keep_their_units():
    normed = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    shared = nn.Linear(6, 6)
    twice = nn.Sequential(shared, nn.ReLU(), shared)
    grouped = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 3))
    sigmoid = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3))
    for net in (normed, twice, grouped, sigmoid):
        model = Rate(net, 60)
        guide = Rounding(model)
        with torch.no_grad():
            for name in model.weight_names:
                guide._get("loc", name).zero_()
        guide.after_epoch()
        assert model.chain == () and model.mask(model.weight_names[0]) is None
        assert model.arithmetic() == tuple(len(v) for v in model.initial_weights().values())


def test_a_loaded_state_is_computed_with_its_own_units():
    model, guide = pair(dense, (), [(0, u) for u in range(4)])
    fresh, _ = pair(dense, (), [(0, u) for u in range(4)])
    x = x_of(dense)
    fresh.output(x, guide.median())  # with all units
    guide.after_epoch()
    expected = model.output(x, guide.median())
    fresh.load_state_dict(model.state_dict())
    assert fresh.output(x, guide.median()).equal(expected)
    assert fresh.arithmetic() == (4, 7, 3)
