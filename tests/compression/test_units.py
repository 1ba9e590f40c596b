"""Removing units changes no output: against the original network on random inputs."""

import copy

import pytest
import torch
from bitsback.compression.architecture import describe
from bitsback.compression.select import Select
from bitsback.compression.units import remove_units
from torch import nn


def sparsify(net: nn.Module, seed: int, dead: float = 0.5) -> nn.Module:
    """Zero random weights, whole rows and whole columns; random biases and statistics."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            weight = module.weight.data
            for axis in (0, 1):
                keep = torch.rand(weight.shape[axis], generator=generator) > dead
                weight *= keep.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
            weight *= torch.rand(weight.shape, generator=generator) > 0.3
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
    return net.double().eval()


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 60), nn.ReLU(), nn.Linear(60, 10),
    )  # fmt: skip


NETWORKS = {
    "mlp": (lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 30), nn.Sigmoid(),
        nn.Linear(30, 5),
    ), (8, 8)),
    "mlp-no-bias": (lambda: nn.Sequential(
        nn.Linear(9, 20, bias=False), nn.Softplus(), nn.Dropout(0.5), nn.Linear(20, 5, bias=False)
    ), (9,)),
    "lenet-5-caffe": (lenet5, (1, 28, 28)),
    "batchnorm": (lambda: nn.Sequential(
        nn.Conv2d(2, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3),
        nn.BatchNorm2d(8), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(32),
        nn.Linear(32, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 3),
    ), (2, 6, 6)),
    "zero padding": (lambda: nn.Sequential(
        nn.Conv2d(2, 9, 3, padding=1), nn.ReLU(), nn.Conv2d(9, 9, 3, padding="same"), nn.ReLU(),
        nn.Conv2d(9, 4, 3, stride=2, padding=1, padding_mode="circular"),
        nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.Linear(16, 3),
    ), (2, 5, 5)),
    "conv1d": (lambda: nn.Sequential(
        nn.Conv1d(3, 10, 3, stride=2), nn.ELU(), nn.Conv1d(10, 8, 2, dilation=2), nn.GELU(),
        nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(24, 7), nn.SiLU(), nn.Linear(7, 2),
    ), (3, 20)),
    "groups": (lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 6, 1),
        nn.Hardtanh(), nn.Conv2d(6, 6, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    ), (2, 7, 7)),
    "nested": (lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU()), nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Linear(54, 20), nn.Sequential(nn.Tanh(), nn.Linear(20, 4))),
    ), (1, 8, 8)),
    "layer norm": (lambda: nn.Sequential(
        nn.Linear(30, 20), nn.LayerNorm(20), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 4)
    ), (30,)),
    "pool behind flatten": (lambda: nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.Flatten(), nn.MaxPool1d(3, 2, 1), nn.Linear(12, 3)
    ), (2, 6)),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays(name, seed):
    make, shape = NETWORKS[name]
    net = sparsify(make(), seed, (0.3, 0.6, 0.9, 1.0)[seed])
    before = copy.deepcopy(net.state_dict())
    x = torch.randn(5, *shape, dtype=torch.float64)
    small = remove_units(net)
    torch.testing.assert_close(small.net(x), net(x), rtol=1e-10, atol=1e-10)
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[key])
    for key, (outputs, inputs) in small.kept.items():
        expected = net.state_dict()[key][outputs][:, inputs]
        assert torch.equal(small.net.state_dict()[key], expected)
    again = remove_units(small.net)
    assert parameters(again.net) == parameters(small.net)  # a fixpoint
    torch.testing.assert_close(again.net(x), net(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["mlp", "lenet-5-caffe", "batchnorm", "conv1d", "nested"])
def test_it_shrinks(name):
    net = sparsify(NETWORKS[name][0](), 0)
    assert parameters(remove_units(net).net) < 0.5 * parameters(net)


def test_inputs_nobody_reads_are_left_out():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10)).eval()
    read = torch.arange(784) % 5 == 0
    net[1].weight.data *= read
    small = remove_units(net)
    assert list(small.net.state_dict())[:2] == ["select.kept", "1.weight"]
    assert torch.equal(small.net.select.kept, read)
    assert torch.equal(small.kept["1.weight"][1], read.nonzero()[:, 0])
    x = torch.randn(3, 28, 28)
    torch.testing.assert_close(small.net(x), net(x))
    small.net[2].weight.data[:, :7] = 0  # and again, through the Select that is there now
    again = remove_units(small.net)
    assert again.net.select.kept.numel() == 784
    torch.testing.assert_close(again.net(x), small.net(x))


def test_a_select_that_saves_nothing_is_not_inserted():
    net = nn.Sequential(nn.Linear(20, 3))
    net[0].weight.data[:, 4] = 0
    assert [type(module) for module in remove_units(net).net] == [nn.Linear]


def test_last_outputs_stay_and_every_layer_keeps_a_unit():
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    net[2].weight.data.zero_()
    small = remove_units(net).net
    assert small[-1].weight.shape == (4, 1) and small(torch.ones(2, 6)).shape == (2, 4)
    torch.testing.assert_close(small(torch.ones(2, 6)), net(torch.ones(2, 6)))


def test_a_constant_makes_a_bias_where_there_was_none():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    net[0].weight.data[1] = 0
    small = remove_units(net).net
    assert small[0].weight.shape == (3, 3) and small[1].bias is not None


CONV = nn.Conv2d
UNBENT = [  # what stands between two layers, the second, and whether biases are folded
    ([nn.MaxPool2d(2), nn.Dropout(0.5)], CONV(3, 3, 2), True),
    ([nn.AvgPool2d(3, 2, ceil_mode=True)], CONV(3, 3, 2), True),
    ([nn.MaxPool2d(3, 2, padding=1)], CONV(3, 3, 2), True),
    ([nn.AvgPool2d(3, 2, 1, count_include_pad=False)], CONV(3, 3, 2), True),
    ([nn.AvgPool2d(3, 2, 1)], CONV(3, 3, 2), False),
    ([nn.AdaptiveAvgPool2d(2), nn.Flatten()], nn.Linear(12, 3), True),
    ([nn.Identity()], CONV(3, 3, 2, padding=1), False),
    ([nn.Identity()], CONV(3, 3, 2, padding=1, padding_mode="circular"), True),
    ([nn.ReLU()], CONV(3, 3, 2), False),
    ([nn.BatchNorm2d(3)], CONV(3, 3, 2), False),
    ([nn.MaxPool2d(2)], CONV(3, 3, 2, bias=False), False),
    ([nn.MaxPool2d(2)], CONV(3, 4, 2), False),  # more units, each to be told
]


@pytest.mark.parametrize("case", range(len(UNBENT)))
def test_biases_that_nothing_bends_are_those_of_the_next_layer(case):
    between, after, passes = copy.deepcopy(UNBENT[case])
    net = nn.Sequential(CONV(1, 3, 3), *between, after).double().eval()
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    small = remove_units(net).net
    torch.testing.assert_close(small(x), net(x), rtol=1e-12, atol=1e-12)
    assert (small[0].bias is None) == passes and net[0].bias is not None
    if passes:
        assert not torch.allclose(small[-1].bias, net[-1].bias)


def test_a_mean_with_a_divisor_of_its_own_is_left_alone():
    net = nn.Sequential(CONV(1, 3, 3), nn.AvgPool2d(2, divisor_override=1), CONV(3, 4, 2)).eval()
    with torch.no_grad():
        net[0].weight[0] = 0
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(remove_units(net).net(x), net(x))


def test_biases_go_on_while_layers_get_no_wider():
    net = nn.Sequential(CONV(1, 4, 3), CONV(4, 3, 3), nn.MaxPool2d(2), CONV(3, 3, 2), nn.ReLU())
    net = nn.Sequential(*net, nn.Flatten(), nn.Linear(3, 5)).eval()
    small, x = remove_units(net).net, torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(small(x), net(x))
    assert [n for n in small.state_dict() if n.endswith("bias")] == ["3.bias", "6.bias"]
    assert describe(small).root is not None


def test_shared_layers_are_left_alone():
    shared = nn.Linear(6, 6)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(6, 2))
    shared.weight.data[2] = 0
    shared.weight.data[:, 3] = 0
    small = remove_units(net)
    assert small.net[0] is small.net[2] and small.net[0] is not shared and not (
        small.kept.keys() & {"0.weight", "2.weight"}
    )  # fmt: skip
    x = torch.randn(3, 6)
    torch.testing.assert_close(small.net(x), net(x))


def test_tied_tensors_stay_tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    net[2].weight = net[0].weight
    net[0].weight.data[1] = 0
    small = remove_units(net).net
    assert small[0].weight is small[2].weight
    x = torch.randn(3, 4)
    torch.testing.assert_close(small(x), net(x))


def test_other_modules_are_copied():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return x + self.fc(x)

    net = Residual()
    net.fc.weight.data.zero_()
    small = remove_units(net)
    assert small.kept == {} and small.net.fc.weight.shape == (3, 3) and small.net is not net


def test_select_that_is_not_before_a_linear_layer_stays():
    net = nn.Sequential(Select(torch.tensor([True, False, True])), nn.ReLU(), nn.Linear(2, 2))
    x = torch.randn(4, 3)
    torch.testing.assert_close(remove_units(net).net(x), net(x))
