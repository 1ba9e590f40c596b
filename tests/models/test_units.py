"""Dead units of any network: which they are, and that nothing changes without them but the work."""

import math

import bitsback
import numpy as np
import pyro
import pytest
import torch
from bitsback.graph import GraphNetwork, Plan, Ref, parameters_of, trace
from bitsback.graph.alive import masked
from bitsback.guides import Rounding
from bitsback.models import Rate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..graph.networks import make

pytestmark = pytest.mark.filterwarnings("ignore::bitsback.compression.verdict.WorseNetwork")


def widths(model: Rate) -> tuple[int, ...]:
    """How many units of each weight are left."""
    kept = {name: model.kept(name)[0] for name in model.weight_names}
    sizes = {name: len(value) for name, value in model.initial_weights().items()}
    return tuple(sizes[name] if part is None else len(part) for name, part in kept.items())


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


def conv() -> nn.Sequential:
    """No ReLU behind the convolutions, as in Caffe's LeNet-5."""
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1))
    return nn.Sequential(first, nn.Flatten(), nn.Linear(45, 6), nn.ReLU(), nn.Linear(6, 3))


INPUTS = {dense: (6,), conv: (1, 8, 8)}
LAYERS = {dense: ("0", "2", "4"), conv: ("0.0", "0.2", "2", "4")}
RECTIFIED = ("0", "2")  # modules with a ReLU behind them


def pair(make, dead_inputs=(), dead_outputs=(), **options):
    """A pair whose integers are those of weights with zeros where units are to die."""
    torch.manual_seed(0)
    net, layers = make(), LAYERS[make]
    with torch.no_grad():
        for at, unit in dead_inputs:
            net.get_parameter(f"{layers[at]}.weight")[unit] = 0
            net.get_parameter(f"{layers[at]}.bias")[unit] = -0.1 if layers[at] in RECTIFIED else 0
        for at, unit in dead_outputs:
            weight = net.get_parameter(f"{layers[at + 1]}.weight")
            count = weight.shape[1] // len(net.get_parameter(f"{layers[at]}.weight"))
            weight[:, unit * count : (unit + 1) * count] = 0
    model = Rate(net, 60, coarseness=0.01, example=x_of(make), **options)
    return model, Rounding(model)


def x_of(make) -> Tensor:
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


def with_dead_units(network: GraphNetwork, share: float) -> GraphNetwork:
    """The network with zeros around so many of its units, at random."""
    plan = Plan(network, zeros_only=True)
    units = plan.axes.units
    roots = np.unique(units.find(np.arange(len(units))))
    chosen = roots[~units.is_frozen(roots)]
    plan.dead = np.zeros(len(units), bool)
    plan.dead[np.random.default_rng(0).permutation(chosen)[: int(share * len(chosen))]] = True
    plan._keep_one(plan.dead)
    tensors = {}
    for node in network.graph.parameters:
        kept = [None if k is None else np.flatnonzero(k) for k in plan.kept(Ref(node))]
        tensor = masked(dict(parameters_of(network))[node.name].detach(), tuple(kept))
        trains = isinstance(dict(parameters_of(network))[node.name], nn.Parameter)
        tensors[node.name] = nn.Parameter(tensor) if trains else tensor
    return GraphNetwork(network.graph, tensors)


def gradients(model: Rate, guide: Rounding, x, direction: Tensor) -> dict[str, Tensor]:
    """Of one number that depends on all outputs, for integers, steps and point parameters."""
    model.zero_grad()
    guide.zero_grad()
    weights = {name: guide._get("loc", name) for name in model.weight_names}
    masks = {name: model.mask(name) for name in weights}
    weights = {k: v if masks[k] is None else v * masks[k] for k, v in weights.items()}
    (model.output(x, weights) * direction).sum().backward()
    found = {name: guide._get("loc", name).grad for name in weights}
    own = {name: p.grad for name, p in model.net.named_parameters() if p.grad is not None}
    return {name: grad.clone() for name, grad in (found | own).items()}


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize(
    "name", ["vgg", "resnet", "mobilenet", "densenet", "unet", "gated", "vit", "gpt", "lstm"]
)
def test_units_of_any_network(name, fold):
    """Residual streams, depthwise pairs, concatenations, MLP blocks, heads, recurrent units.

    Outputs and gradients are those of the network with all its units.
    """
    net, x = make(name)
    network = with_dead_units(trace(net, x, fold=fold), 0.4)
    pairs = []
    for _ in range(2):
        model = Rate(network, 60, coarseness=0.02)
        pairs.append((model, Rounding(model)))
    (model, guide), whole = pairs
    direction = torch.randn_like(net(x))
    guide.after_epoch()
    reduced = model.reduced()
    assert reduced is not None
    sizes = {k: v.numel() for k, v in model.initial_weights().items()}
    left = sum(reduced.part(k, v).numel() for k, v in model.initial_weights().items())
    assert left < 0.85 * sum(sizes.values())
    expected = whole[0].output(x, whole[1].median())
    torch.testing.assert_close(model.output(x, guide.median()), expected, rtol=1e-3, atol=1e-5)
    found, expected = gradients(model, guide, x, direction), gradients(*whole, x, direction)
    for key, gradient in found.items():
        kept = reduced.kept(key)
        torch.testing.assert_close(gradient, masked(expected[key], kept), rtol=1e-3, atol=1e-4)
    guide.after_epoch()
    assert model.reduced() is reduced  # nothing more dies


def test_statistics_of_norms_are_updated_without_the_dead_units():
    net, x = make("resnet")
    network = with_dead_units(trace(net, x, fold=False), 0.4)
    models = [Rate(network, 60, coarseness=0.02) for _ in range(2)]
    guides = [Rounding(model) for model in models]
    guides[0].after_epoch()
    for model, guide in zip(models, guides, strict=True):
        model.train()
        model.output(x, guide.median())
    places, moved = dict(models[0].reduced().alive.kept), 0
    for name, value in models[0].net.named_buffers():
        other = models[1].net.get_buffer(name)
        kept = slice(None) if places[name][0] is None else torch.from_numpy(places[name][0])
        torch.testing.assert_close(value[kept], other[kept], rtol=1e-4, atol=1e-5)
        moved += not value.equal(dict(parameters_of(network))[name])
    assert moved == len(dict(models[0].net.named_buffers()))


def test_death_spreads():
    """A unit that only a dead one read is dead as well."""
    model, guide = pair(dense, (), [(1, u) for u in range(4)])
    with torch.no_grad():
        guide.loc.get_submodule("2").weight[4:, :5] = 0
    guide.after_epoch()
    assert widths(model) == (3, 3, 3)
    assert model.kept("0.weight")[0].tolist() == [5, 6, 7]


@pytest.mark.parametrize(("bias", "left"), [(0.1, 8), (0.0, 4), (-0.1, 4)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_a_bias_keeps_a_unit_without_inputs_alive(bias, left, activation):
    """A ReLU makes nothing of a negative one."""
    net = nn.Sequential(nn.Linear(6, 8), activation(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[:4], net[0].bias[:4] = 0, bias
    model = Rate(net, 60, coarseness=0.01, example=torch.randn(3, 6))
    Rounding(model).after_epoch()
    assert widths(model)[0] == (8 if bias < 0 and activation is nn.Tanh else left)


def test_a_network_is_never_left_without_a_function():
    """Of a chain whose layer is dead nothing is removed; a dead branch keeps a single unit."""
    model, guide = pair(dense, (), [(0, u) for u in range(8)])
    guide.after_epoch()
    assert widths(model) == (8, 7, 3)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.out = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x + self.down(torch.relu(self.up(x))))

    net, x = Residual(), torch.randn(4, 6)
    nn.init.zeros_(net.down.weight)
    model = Rate(net, 60, coarseness=0.01, example=x)
    guide = Rounding(model)
    expected = model.output(x, guide.median())
    for _ in range(2):
        guide.after_epoch()
        assert widths(model) == (1, 6, 3)
        torch.testing.assert_close(model.output(x, guide.median()), expected)


def test_few_units_are_not_worth_a_new_step():
    model, guide = pair(dense, (), [(0, 0)])
    guide.after_epoch()
    assert widths(model) == (8, 7, 3) and model.arithmetic() == ()


@pytest.mark.parametrize(("dead", "left"), [(3, 20), (4, 16)])
def test_whole_blocks_are_worth_a_new_step(dead, left):
    """Of 20 units, which take two blocks of 16."""
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    nn.init.zeros_(net[2].weight[:, :dead])
    model = Rate(net, 60, coarseness=0.01, example=torch.randn(3, 6))
    Rounding(model).after_epoch()
    assert widths(model) == (left, 3)


@pytest.mark.parametrize("make", INPUTS)
def test_what_is_removed_stays_zero_and_free(make):
    """Whatever the parameters do afterwards; no gradient reaches them, and the file agrees."""
    model, guide = pair(make, (), [(0, 0), (0, 1), (0, 2)])
    guide.after_epoch()
    first, second = (f"{layer}.weight" for layer in LAYERS[make][:2])
    with torch.no_grad():
        for name in (first, second):
            guide._get("loc", name).add_(1.0)
        model.net.get_submodule(LAYERS[make][0]).bias.add_(1.0)
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
    before = widths(model)
    guide.after_epoch()
    assert widths(model) == before
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(x, y), quantiser="grid", prune="none",
        margin_nll=math.inf, margin_error=math.inf,
    )  # fmt: skip
    # The first layer's inputs and the other layer's outputs may be fewer still.
    assert result.archive.tensors[first].codes.shape[0] <= len(levels[first]) - 3


class Branches(nn.Module):
    """Python code that looks at numbers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.b(x if x.sum() > 0 else -x)


class OnlyInTraining(Branches):
    """Code that depends on the mode, which no graph knows."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.b(2 * x if self.training else x)


@pytest.mark.parametrize(
    ("net", "example"), [(Branches, True), (OnlyInTraining, True), (dense, False)]
)
def test_other_networks_keep_their_units(net, example):
    x = torch.randn(4, 6)
    model = Rate(net(), 60, example=x if example else None)
    guide = Rounding(model)
    with torch.no_grad():
        for name in model.weight_names:
            guide._get("loc", name)[:, 1:] = 0
    before = model.output(x, guide.median())
    guide.after_epoch()
    assert model.structure() is None and model.mask(model.weight_names[0]) is None
    assert widths(model) == tuple(len(v) for v in model.initial_weights().values())
    assert model.output(x, guide.median()).equal(before)


def test_removal_during_inference_and_on_a_new_device():
    """Indices found inside inference mode serve training, and are found anew after a move."""
    model, guide = pair(dense, (), [(0, u) for u in range(4)])
    guide.after_epoch()
    model.to("cpu")
    x, y = x_of(dense), torch.arange(20) % 3
    with torch.inference_mode():
        model.output(x, guide.median())
    found = model.reduced()
    bitsback.ELBO().differentiable_loss(model, guide, x, y).backward()
    assert model.reduced() is found
    assert model.to("cpu").reduced() is not found
    model, guide = model.double(), guide.double()
    guide.after_epoch()
    assert model.output(x.double(), guide.median()).dtype == torch.float64


def test_latent_biases_and_another_order():
    """Biases among the latent weights; and weights named against the order of computation."""
    torch.manual_seed(0)
    prices = []
    net = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(8, 8), nn.ReLU())))
    with torch.no_grad():
        net[2].weight[:, :5] = 0
    x = torch.randn(5, 8)
    orders = (["0.weight", "2.weight", "4.weight"], ["4.weight", "2.weight", "0.weight"])
    for latent in (*orders, [*orders[0], "0.bias", "2.bias", "4.bias"]):
        model = Rate(net, 60, latent=latent, coarseness=0.1, example=x)
        guide = Rounding(model)
        expected = model.output(x, guide.median())
        guide.after_epoch()
        assert widths(model)[latent.index("0.weight")] == 3
        torch.testing.assert_close(model.output(x, guide.median()), expected)
        for _ in range(20):
            guide.refresh()
        prices.append(model.weight_nats(guide.levels()))
    for name in orders[0]:
        torch.testing.assert_close(prices[0][name], prices[1][name])
        torch.testing.assert_close(prices[0][name], prices[2][name])
    assert not guide.levels()["0.bias"][:5].any()


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


def test_geometry_of_traced_networks():
    """Rows of transposed kernels are outputs; depthwise kernels are one channel of taps each."""
    for name in ("unet", "mobilenet", "lstm"):
        net, x = make(name)
        model = Rate(trace(net, x), 60, coarseness=0.5)
        guide = Rounding(model)
        for _ in range(3):
            guide.refresh()
        nats = sum(v.item() for v in model.weight_nats(guide.levels()).values())
        assert math.isfinite(nats) and nats > 0
        tables = model.densities
        if name == "unet":
            assert (tables["up__weight"].rows, tables["up__weight"].columns) == (6, 32)
            assert tables["up__weight"].channels == 8 and tables["up__weight"].lines == 2
        if name == "mobilenet":
            assert (tables["depthwise__weight"].channels, tables["depthwise__weight"].lines) == (
                1,
                3,
            )
        if name == "lstm":
            assert (tables["embed__weight"].rows, tables["embed__weight"].columns) == (6, 13)
