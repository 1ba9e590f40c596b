"""The integer network: true integers, bounds that hold, rounding as stated, errors by layer."""

import pickle
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bitsback.compression.integer import accumulators, integer_tensors, to_integer
from bitsback.compression.integer_layers import (
    MAX_ACCUMULATOR,
    IntegerAccumulator,
    IntegerInput,
    Requantise,
)
from bitsback.compression.integer_walk import FORMS
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.compression.select import Select
from bitsback.graph import Ref, parameters_of, quantise_relus, relu_names, trace
from bitsback.graph.table import OPERATORS
from bitsback.graph.values import Values
from torch import nn

from ..graph.image_networks import ResNet
from .integers import on_grid, pixels, small_conv, step_of


def outputs(net: nn.Module, x) -> dict[str, torch.Tensor]:
    """What each module of a sequence puts out, by name."""
    found = {}
    for name, module in net.named_children():
        x = found[name] = module(x)
    return found


def int64_sums(layer: IntegerAccumulator, codes: torch.Tensor, original: nn.Module):
    """The same by torch's int64 products and sums, nothing in floats."""
    weight, codes = layer.weight.long(), codes.long()
    if isinstance(original, nn.Linear):
        return ((codes[:, None] * weight).sum(-1) << layer.fraction) + layer.bias
    pad = original.padding[0]
    codes = F.pad(codes, (pad, pad, pad, pad))
    size, stride = original.kernel_size[0], original.stride[0]
    patches = codes.unfold(2, size, stride).unfold(3, size, stride)
    n, _, height, width = patches.shape[:4]
    patches = patches.reshape(n, original.groups, -1, height, width, size, size)
    weight = weight.reshape(original.groups, -1, *weight.shape[1:])
    sums = (patches[:, :, None] * weight[None, :, :, :, None, None]).sum((3, 6, 7))
    sums = sums.reshape(n, -1, height, width) << layer.fraction
    return sums + layer.bias.reshape(-1, 1, 1)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_sums_are_those_of_true_integers(bits):
    """Pooling and requantisation of int64 numbers by numpy's own rules, too."""
    x = pixels(5)
    net = on_grid(small_conv(), bits, x)
    whole = to_integer(net)
    found, before = outputs(whole, x), None
    for name, module in whole.named_children():
        if isinstance(module, IntegerAccumulator):
            assert found[name].dtype == torch.int32
            expected = int64_sums(module, found[before], net.get_submodule(name))
            assert torch.equal(found[name].long(), expected), name
            assert expected.abs().max() <= module.bound <= MAX_ACCUMULATOR
        if isinstance(module, Requantise):
            ratio = Fraction(module.multiplier, 2**module.shift)
            for a, code in zip(
                found[before].flatten().tolist(), found[name].flatten().tolist(), strict=True
            ):
                assert code == min(max((a * ratio + Fraction(1, 2)).__floor__(), 0), module.most)
        before = name
    assert torch.equal(found["inputs"], (255 * x).round().int())


def test_the_bound_is_reached_and_proven():
    """By inputs of the largest codes with the signs of the weights and of the bias."""
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, -1.0, 2.0], [1.0, 1.0, 1.0]]))
        layer.bias.copy_(torch.tensor([7.0, -4.0]))
    whole = to_integer(nn.Sequential(layer), IntegerInput(Fraction(1), -127, 127))
    made = accumulators(whole)["0"]
    assert made.fraction == 8 and made.bound == 256 * (127 * 6 + 7)
    assert whole(torch.tensor([[127.0, -127.0, 127.0]])).tolist() == [[127 * 6 + 7, 127 - 4]]


def constant(count: int) -> nn.Linear:
    """One output of a weight 1 and so many of 2^16, which keep the step at 1."""
    layer = nn.Linear(count + 1, 1, bias=False)
    nn.init.constant_(layer.weight, 65536.0)
    with torch.no_grad():
        layer.weight[0, 0] = 1
    return layer


def test_a_sum_beyond_int32_names_its_layer():
    """2^16 times 255 fits 128 times; up to there the bits below the sums give way."""
    most = accumulators(to_integer(nn.Sequential(constant(128))))["0"]
    assert most.fraction == 0 and most.bound == 255 * (1 + 128 * 65536)
    assert accumulators(to_integer(nn.Sequential(constant(60))))["0"].fraction == 1
    nested = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), constant(129)))
    with pytest.raises(ValueError, match=r"layer '1\.1' may sum to .* int32"):
        to_integer(nested)


def test_a_bias_beyond_int32_names_its_layer():
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.constant_(layer.bias, 2.0**24)
    with pytest.raises(ValueError, match=r"layer '0' may sum to 42781\d+, beyond int32"):
        to_integer(nn.Sequential(layer))


def test_rounding_is_half_up_and_exact_but_near_halves():
    """Against exact fractions over all signs; the stated half, and the stated distance from it."""
    half = Requantise(Fraction(1, 8), 255)
    assert half(torch.tensor([-4, 3, 4, 11, 12, 20, 2**31 - 1])).tolist() == [0, 0, 1, 1, 2, 3, 255]
    generator = np.random.RandomState(0)
    for ratio in (
        Fraction(3, 2**20 * 7),
        Fraction(201, 173),
        Fraction(255 * 3, 131),
        Fraction(1, 2**25),
    ):
        layer = Requantise(ratio, 65535)
        reach = min(2**31 - 1, int(65535 / ratio))
        a = generator.randint(-reach, reach, 3000)
        for value, code in zip(a.tolist(), layer(torch.from_numpy(a).int()).tolist(), strict=True):
            exact = value * ratio + Fraction(1, 2)
            away = abs(exact - round(exact))
            assert code == min(max(exact.__floor__(), 0), 65535) or away <= Fraction(1, 2**15)


def test_ratios_at_the_ends():
    assert Requantise(Fraction(1, 2**40), 255)(torch.tensor([2**31 - 1])).tolist() == [0]
    assert Requantise(Fraction(2**29), 65535)(torch.tensor([1, 0, -1])).tolist() == [65535, 0, 0]
    with pytest.raises(ValueError, match=r"'1' has a step .* finer"):
        to_integer(nn.Sequential(nn.Linear(1, 1), QuantisedReLU(2.0**-60, 8)))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_it_is_the_quantised_float_network_but_for_rounding(bits):
    """Logits to within what biases are rounded by, where no code differs."""
    x = pixels()
    net = on_grid(small_conv(), bits, x)
    whole = to_integer(net)
    found, floats = outputs(whole, x), outputs(net, x)
    same = torch.ones(len(x), dtype=torch.bool)
    for name in ("relu1", "relu2", "relu3"):
        codes = (floats[name] / net.get_submodule(name).step).round().int()
        same &= codes.eq(found[name]).flatten(1).all(1)
    assert same.float().mean() > 0.9
    unit = float(whole.logits.scale)
    worst = (found["logits"] - floats["fc2"].double())[same].abs().max().item()
    assert worst <= unit / 2 + 1e-5 * floats["fc2"].abs().max().item()


def test_equal_networks_give_equal_integers():
    x = pixels()
    a, b = (integer_tensors(to_integer(on_grid(small_conv(), 4, x))) for _ in range(2))
    assert a.keys() == b.keys() and "relu1.multiplier" in a and "fc2.weight" in a
    assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def test_inputs():
    """Bytes over 255 and 17 grey levels lose nothing on their own steps; else `error` tells."""
    levels = torch.arange(17).float() / 16
    assert IntegerInput()(torch.arange(256).float() / 255).tolist() == list(range(256))
    assert IntegerInput().error(torch.arange(256).float() / 255) < 1e-7
    assert IntegerInput(Fraction(1, 16), high=16).error(levels) == 0
    assert 1e-3 < IntegerInput().error(levels) <= 0.5 / 255
    assert IntegerInput(0.5, -2, 2)(torch.tensor([-9.0, 0.25, 0.75, 9.0])).tolist() == [-2, 0, 2, 2]
    for wrong in ({"step": 0}, {"step": float("nan")}, {"low": 1}, {"low": -1}):
        with pytest.raises(ValueError, match="inputs must"):
            IntegerInput(**wrong)


def test_a_select_and_dropout_stay_and_the_network_is_not_changed():
    net = nn.Sequential(
        nn.Flatten(), Select(torch.tensor([True, False] * 32)), nn.Linear(32, 3), nn.Dropout(0.5)
    )
    on_grid(net, 8, pixels())
    net.train()
    whole = to_integer(net)
    assert all(module.training for module in net.modules())
    expected = net.eval()(pixels())
    assert torch.allclose(whole(pixels()).float(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "layers, match",
    [
        ([nn.Linear(2, 2), nn.ReLU()], "layer '1' computes relu, which has no"),
        ([nn.Linear(2, 2), nn.Linear(2, 2)], "layer '1' takes sums"),
        ([nn.Linear(2, 2), nn.Softmax(1)], "layer '1' computes softmax, which has no"),
        ([nn.AvgPool2d(2, ceil_mode=True)], "layer '0' pools by means of windows of several sizes"),
        ([nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1)], "layer '1' needs the size of its inputs"),
    ],
)
def test_layers_without_an_integer_form_are_named(layers, match):
    for layer in layers:
        if hasattr(layer, "weight"):
            nn.init.ones_(layer.weight)
    with pytest.raises(ValueError, match=match):
        to_integer(nn.Sequential(*layers))


def test_weights_without_a_grid_and_biases_that_are_not_finite():
    with pytest.raises(ValueError, match=r"'0' has weights without a uniform grid"):
        to_integer(nn.Sequential(nn.Linear(9, 9)))
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.bias, float("inf"))
    with pytest.raises(ValueError, match=r"'0' has biases that are not finite"):
        to_integer(nn.Sequential(layer))


def test_one_dimension():
    x = torch.randint(0, 256, (4, 2, 12), generator=torch.Generator().manual_seed(0)).float() / 255
    net = nn.Sequential(
        nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2, padding=1), nn.Flatten(),
        nn.Linear(21, 4),
    )  # fmt: skip
    net = on_grid(net, 8, x)
    assert torch.allclose(to_integer(net)(x).float(), net(x), atol=2e-2)


@pytest.mark.parametrize("names", [("a", "r", "logits"), ("inputs", "r", "b"), ("a.b", "r", "a-b")])
def test_names_that_are_taken(names):
    """Get a number: the integer network has modules of its own."""
    net = nn.Sequential()
    for name, layer in zip(
        names, (nn.Linear(4, 5), QuantisedReLU(0.25, 4), nn.Linear(5, 3)), strict=True
    ):
        if "." in name:
            name, inner = name.split(".")
            layer = nn.Sequential(OrderedDict([(inner, layer)]))
        net.add_module(name, layer)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((8 * parameter).round() / 8)
    whole = to_integer(net)
    assert [name.removesuffix("-2") for name, _ in whole.named_children()] == [
        "inputs", *(name.replace(".", "-") for name in names), "logits",
    ]  # fmt: skip
    x = torch.randint(0, 256, (8, 4)) / 255
    assert torch.allclose(whole(x).float(), net(x), atol=0.2)


@torch.no_grad()
def on_grid_of_graph(net: nn.Module, x: torch.Tensor, bits: int, fold: bool = True):
    """A traced network with weights of so many bits, and ReLUs quantised up to their largest."""
    network = trace(net, x, fold=fold)
    for _, value in parameters_of(network):
        if value.dim() > 1:
            step = step_of(value.abs().max().item(), 2 ** (bits - 1) - 1)
            value.copy_((value / step).round() * step)
    values = Values(network, [x])
    grids = {
        name: (step_of(values[Ref(node)].max().item(), 2**bits - 1), bits)
        for name, node in relu_names(network.graph).items()
    }
    return quantise_relus(network, grids)


def colours(count: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 8, 8), generator=generator).float() / 255


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_residual_network(bits, fold):
    """Additions, means over all places, BatchNorm by itself or folded: as the float network."""
    torch.manual_seed(0)
    net = ResNet((6, 8), 1, 4).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    x = colours()
    network = on_grid_of_graph(net, x, bits, fold)
    whole = to_integer(network)
    codes = [name for name, m in whole.named_children() if isinstance(m, Requantise)]
    values, found = Values(network, [x]), whole.outputs(x)
    relus = [n for n in network.graph.operators if n.operator == "quantised_relu"]
    same = torch.ones(len(x), dtype=torch.bool)
    for name, node in zip(codes, relus, strict=True):
        expected = (values[Ref(node)] / node.arguments["step"]).round().int()
        assert (expected - found[name]).abs().max() <= 1
        same &= (expected == found[name]).flatten(1).all(1)
    assert same.float().mean() > 0.8
    apart = (whole(x).float() - network(x)).abs()
    scale = network(x).abs().max()
    assert apart[same].max() < 1e-4 * scale and apart.max() < 0.05 * scale


def test_every_integer_of_a_residual_network_is_within_its_bound():
    torch.manual_seed(0)
    x = colours()
    whole = to_integer(on_grid_of_graph(ResNet((6, 8), 1, 4).eval(), x, 8, fold=False))
    found = whole.outputs(x)
    bounds = {name: m.bound for name, m in whole.named_children() if hasattr(m, "bound")}
    assert len(bounds) > 10
    for name, bound in bounds.items():
        assert found[name].dtype == torch.int32
        assert found[name].abs().max() <= bound <= MAX_ACCUMULATOR


class Mixed(nn.Module):
    """Concatenation, slices, transpositions, pooling by means, padding."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Linear(2 * 4 * 4, 3)

    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.a(x)), 2)
        y = F.relu(self.b(x))
        z = F.relu(torch.cat([x[:, :2], F.pad(y, (0, 1))[..., 1:]], 1))
        left, right, _ = z.transpose(2, 3).split((1, 1, 4), 1)
        return self.c(torch.cat([left, right], 1).flatten(1))


def test_movements_and_means():
    torch.manual_seed(0)
    x = colours()
    network = on_grid_of_graph(Mixed(), x, 8)
    whole = to_integer(network)
    assert (whole(x).float() - network(x)).abs().max() < 0.01 * network(x).abs().max()


def test_adding_is_exact_where_the_steps_have_a_common_one():
    """Two inputs on different steps: sums as of fractions."""

    class Sum(nn.Module):
        def forward(self, x):
            return QuantisedReLU(0.375, 4)(x) + QuantisedReLU(0.25, 5)(x)

    x = torch.arange(0, 64).float()[None] / 8
    whole = to_integer(trace(Sum(), x), IntegerInput(Fraction(1, 8), high=64))
    assert float(whole.logits.scale) == 0.125
    half = torch.tensor([v % 0.125 == 0 for v in x[0].tolist()])
    up = [((x / s + 0.5).floor().clamp(0, m) * s)[0] for s, m in ((0.375, 15), (0.25, 31))]
    assert torch.equal(whole(x)[0].float()[half], sum(up)[half])


def test_an_integer_network_can_be_pickled():
    x = pixels()
    whole = to_integer(on_grid(small_conv(), 4, x))
    assert torch.equal(pickle.loads(pickle.dumps(whole))(x), whole(x))


def test_every_row_of_the_table_with_a_form_is_known():
    assert FORMS.keys() <= OPERATORS.keys()
