"""Dead units: which they are, and that nothing changes without them but the work."""

import math

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import Rounding
from bitsback.models import Rate
from bitsback.models.living import chain_of, living
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def widths(model: Rate) -> tuple[int, ...]:
    """How many units of each weight are left."""
    return tuple(int(units.sum()) for units in model.alive().values())


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
    before_removal = widths(model)
    guide.after_epoch()
    assert widths(model) == (before_removal[0] - 3, *before_removal[1:])
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
    assert widths(model) == (3, 3, 3)
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
    assert widths(model) == (8, 7, 3)


def test_few_units_are_not_worth_a_new_step():
    model, guide = pair(dense, (), [(0, 0)])
    guide.after_epoch()
    assert widths(model) == (8, 7, 3)


@pytest.mark.parametrize(("dead", "left"), [(3, 20), (4, 16)])
def test_whole_blocks_are_worth_a_new_step(dead, left):
    """Of 20 units, which take two blocks of 16."""
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    model, guide = pair(lambda: net, (), [(0, unit) for unit in range(dead)])
    guide.after_epoch()
    assert widths(model) == (left, 3)


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
        assert widths(model) == tuple(len(v) for v in model.initial_weights().values())


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d((2, 1))])
def test_adaptive_pooling_is_of_each_feature_map(pool):
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(5, 1, 8, 8)
    net(x)
    model = Rate(net, 60, coarseness=0.01)
    guide = Rounding(model)
    with torch.no_grad():
        guide._get("loc", "0.weight")[:3] = 0
        model.net.get_submodule("0").bias[:3] = -0.1
    before = model.output(x, guide.median())
    guide.after_epoch()
    assert widths(model) == (3, 3)
    torch.testing.assert_close(model.output(x, guide.median()), before)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Linear(6, 8), nn.MaxPool1d(2)), (1, 6)),
        (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)), (4, 6)),
        (nn.Sequential(nn.Linear(6, 8), nn.AvgPool1d(3, 1, 1), nn.Linear(8, 3)), (1, 6)),
        (nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Linear(6, 3)), (1, 8)),
        (nn.Sequential(nn.Linear(6, 8), nn.MaxPool1d(2), nn.Linear(4, 3)), (1, 6)),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(2), nn.Linear(16, 3)), (1, 4, 4)),
        (nn.Sequential(type("Own", (nn.Linear,), {})(6, 8), nn.ReLU(), nn.Linear(8, 3)), (6,)),
    ],
)
def test_layers_that_do_not_read_units_as_blocks_are_no_chain(net, shape):
    model = Rate(net, 60, coarseness=0.01)
    guide = Rounding(model)
    assert model.chain == ()
    with torch.no_grad():
        guide._get("loc", model.weight_names[-1])[:, 1:] = 0
    before = model.output(torch.ones(2, *shape), guide.median())
    guide.after_epoch()
    assert model.output(torch.ones(2, *shape), guide.median()).equal(before)


def test_removal_during_inference_and_on_a_new_device():
    """Indices found inside inference mode serve training, and are found anew after a move."""
    model, guide = pair(dense, (), [(0, u) for u in range(4)])
    guide.after_epoch()
    x, y = x_of(dense), torch.arange(20) % 3
    with torch.inference_mode():
        model.output(x, guide.median())
    bitsback.ELBO().differentiable_loss(model, guide, x, y).backward()
    assert model._indices is not None
    assert model.to("cpu")._indices is None


def test_latent_biases_and_another_order():
    """Biases among the latent weights; and weights named against the order of computation."""
    names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    model = Rate(dense(), 60, latent=names)
    Rounding(model).after_epoch()
    assert model.chain == ()
    torch.manual_seed(0)
    prices = []
    net = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(8, 8), nn.ReLU())))
    with torch.no_grad():
        net[2].weight[:, :5] = 0
    for latent in (["0.weight", "2.weight", "4.weight"], ["4.weight", "2.weight", "0.weight"]):
        model = Rate(net, 60, latent=latent, coarseness=0.1)
        guide = Rounding(model)
        guide.after_epoch()
        assert widths(model)[latent.index("0.weight")] == 3
        for _ in range(20):
            guide.refresh()
        prices.append(model.weight_nats(guide.levels()))
    for name in latent:
        torch.testing.assert_close(prices[0][name], prices[1][name])


def test_noise_does_not_fall_on_what_was_removed():
    torch.manual_seed(0)
    model, _ = pair(dense, (), [(0, u) for u in range(5)])
    guide = Rounding(model, noise=True)
    guide.after_epoch()
    assert widths(model) == (3, 7, 3)
    trace = pyro.poutine.trace(guide).get_trace(x_of(dense))
    dither = trace.nodes["0.weight"]["fn"].base_dist.dither
    assert not dither[:5].any() and dither[5:].all()


def test_a_loaded_state_is_computed_with_its_own_units():
    model, guide = pair(dense, (), [(0, u) for u in range(4)])
    fresh, _ = pair(dense, (), [(0, u) for u in range(4)])
    x = x_of(dense)
    fresh.output(x, guide.median())  # with all units
    guide.after_epoch()
    expected = model.output(x, guide.median())
    fresh.load_state_dict(model.state_dict())
    assert fresh.output(x, guide.median()).equal(expected)
    assert widths(fresh) == (4, 7, 3)
