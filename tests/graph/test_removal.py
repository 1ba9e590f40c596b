"""Which units go, case by case; random networks are in test_random."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from bitsback.graph import GraphNetwork, Plan, remove_units, trace
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import assert_same, check_removal, weights_in


class Net(nn.Module):
    """Modules under names, and what is computed with them."""

    def __init__(self, function: Callable, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Tensor):
        return self.function(self, *inputs)


def kill(module: nn.Module, units: list[int], bias: float | None = 0.0) -> None:
    """Zero rows of a weight; the bias there is `bias`, or stays where that is None."""
    with torch.no_grad():
        module.weight[units] = 0
        if bias is not None and module.bias is not None:
            module.bias[units] = bias


def deaf(module: nn.Module, units: list[int]) -> None:
    """Zero columns of a weight: its inputs there are not read."""
    with torch.no_grad():
        module.weight[:, units] = 0


def sizes(network: GraphNetwork) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def reduced(net: nn.Module, *x: Tensor, zeros_only: bool = False, fold: bool = True):
    torch.manual_seed(1)
    network = trace(net.eval(), tuple(x), fold=fold)
    reduction = check_removal(network, tuple(x), zeros_only)
    return sizes(reduction.network), reduction


V, IMAGE = torch.randn(3, 5), torch.randn(3, 2, 6, 6)


def test_nothing_goes_where_everything_lives():
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    shapes, reduction = reduced(net, V)
    assert reduction.units == 0 and reduction.kept == {}
    assert shapes["0.weight"] == (4, 5)


def test_hidden_units_without_inputs_or_readers():
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    kill(net[0], [0])
    deaf(net[2], [3, 4])
    shapes, reduction = reduced(net, V)
    assert (shapes["0.weight"], shapes["2.weight"]) == ((3, 5), (3, 3))
    assert reduction.units == 3
    assert reduction.kept["2.weight"][0] is None
    np.testing.assert_array_equal(reduction.kept["2.weight"][1], [1, 2, 5])


@pytest.mark.parametrize("zeros_only", [True, False])
def test_constants_go_into_biases(zeros_only):
    net = nn.Sequential(nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 3, bias=False))
    kill(net[0], [1, 2], bias=None)
    shapes, _ = reduced(net, V, zeros_only=zeros_only)
    assert shapes["2.weight"] == ((3, 6) if zeros_only else (3, 4))
    assert ("2.bias" in shapes) != zeros_only


def test_a_negative_constant_is_nothing_behind_a_relu():
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    kill(net[0], [1], bias=-2.0)
    assert reduced(net, V, zeros_only=True)[0]["0.weight"] == (5, 5)


def test_one_unit_of_every_axis_stays():
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    kill(net[0], list(range(6)))
    shapes, reduction = reduced(net, V)
    assert shapes["0.weight"] == (1, 5)
    assert reduction.units == 5


def test_outputs_and_inputs_stay():
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    kill(net[2], [0])
    deaf(net[0], [1])
    shapes, _ = reduced(net, V)
    assert (shapes["0.weight"], shapes["2.weight"]) == ((6, 5), (3, 6))


def test_constants_stop_at_zero_padding():
    for padding, mode, left in ((0, "zeros", 3), (1, "zeros", 4), (1, "reflect", 3)):
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.Sigmoid(),
            nn.Conv2d(4, 3, 3, padding=padding, padding_mode=mode),
        )  # fmt: skip
        kill(net[0], [2], bias=1.0)
        assert reduced(net, IMAGE)[0]["0.weight"][0] == left, (padding, mode)


def test_zeros_pass_zero_padding():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    kill(net[0], [2], bias=-1.0)
    assert reduced(net, IMAGE)[0]["0.weight"][0] == 3


@pytest.mark.parametrize("counted", [True, False])
def test_padded_average_pooling(counted):
    """A constant stays one only if the padding is not counted."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.AvgPool2d(2, padding=1, count_include_pad=counted),
        nn.Conv2d(4, 3, 1),
    )  # fmt: skip
    kill(net[0], [2])
    assert reduced(net, IMAGE)[0]["0.weight"][0] == (4 if counted else 3)


def test_maximum_pooling_and_flattening():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    kill(net[0], [1])
    assert reduced(net, IMAGE)[0]["4.weight"] == (3, 12)


def test_hardtanh_makes_constants():
    net = nn.Sequential(nn.Linear(5, 6), nn.Hardtanh(0.5, 2.0), nn.Linear(6, 3))
    kill(net[0], [0, 1])
    assert reduced(net, V)[0]["0.weight"] == (4, 5)
    assert reduced(net, V, zeros_only=True)[0]["0.weight"] == (6, 5)


def test_times_zero():
    """A scale of zero silences what it multiplies, and its producer."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 6), nn.Linear(6, 3)
            self.scale = nn.Parameter(torch.tensor([1.0, 0, 2, 0, 0, 1]))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x)) * self.scale)

    shapes, _ = reduced(Scaled(), V, zeros_only=True)
    assert shapes == {"a.weight": (3, 5), "a.bias": (3,), "b.weight": (3, 3), "b.bias": (3,),
                      "scale": (3,)}  # fmt: skip


def test_units_of_a_residual_stream_go_where_all_producers_are_dead():
    net = Net(
        lambda m, x: m.out((y := F.relu(m.a(x))) + m.c(F.relu(m.b(y)))),
        a=nn.Linear(5, 6), b=nn.Linear(6, 4), c=nn.Linear(4, 6), out=nn.Linear(6, 3),
    )  # fmt: skip
    kill(net.a, [0, 1], bias=-1.0)
    kill(net.c, [1, 2])
    shapes, reduction = reduced(net, V)
    assert reduction.units == 1
    assert shapes["a.weight"] == (5, 5) and shapes["c.weight"] == (5, 4)


def test_producers_with_different_constants():
    """What counts is their sum, and what each reader makes of it."""
    net = Net(
        lambda m, x: m.out(F.relu(m.a(x)) + torch.sigmoid(m.b(x))),
        a=nn.Linear(5, 6), b=nn.Linear(5, 6), out=nn.Linear(6, 3),
    )  # fmt: skip
    kill(net.a, [3], bias=2.0)
    kill(net.b, [3], bias=-1.0)
    assert reduced(net, V)[0]["out.weight"] == (3, 5)


def test_concatenation_and_two_inputs():
    net = Net(
        lambda m, x, y: m.out(torch.cat([F.relu(m.a(x)), F.relu(m.a(y))], 1)),
        a=nn.Linear(5, 4), out=nn.Linear(8, 3),
    )  # fmt: skip
    kill(net.a, [2])
    shapes, _ = reduced(net, V, V + 1)
    assert shapes["a.weight"] == (3, 5) and shapes["out.weight"] == (3, 6)


def test_a_shared_module_with_two_constants():
    """Each call has constants of its own; a shared bias takes in neither."""
    net = Net(
        lambda m, x: m.b(torch.sigmoid(m.a(x))) + m.b(torch.cos(m.a(x))),
        a=nn.Linear(5, 4), b=nn.Linear(4, 3),
    )  # fmt: skip
    kill(net.a, [1], bias=0.5)
    assert reduced(net, V)[0]["a.weight"] == (4, 5)
    plain = Net(net.function, a=net.a, b=nn.Linear(4, 3, bias=False))
    shapes, _ = reduced(plain, V)
    assert shapes["a.weight"] == (3, 5) and sum("bias" in name for name in shapes) == 3


def test_depthwise_pairs():
    net = nn.Sequential(
        nn.Conv2d(2, 6, 1), nn.ReLU6(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU6(),
        nn.Conv2d(6, 3, 1),
    )  # fmt: skip
    kill(net[0], [0])
    kill(net[2], [0])
    deaf(net[4], [5])
    shapes, _ = reduced(net, IMAGE)
    assert shapes["0.weight"][0] == shapes["2.weight"][0] == shapes["4.weight"][1] == 4


@pytest.mark.parametrize("up", [True, False])
def test_groups_go_whole(up):
    layer = (nn.ConvTranspose2d if up else nn.Conv2d)(6, 6, 1, groups=3)
    net = nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU(), layer, nn.ReLU(), nn.Conv2d(6, 3, 1))
    kill(net[0], [0, 1, 2])
    deaf(net[4], [0, 1, 2])
    shapes, reduction = reduced(net, IMAGE)
    assert shapes["0.weight"][0] == 4 and shapes["4.weight"][1] == 4
    assert any(n.arguments.get("groups") == 2 for n in reduction.network.graph.operators)


def test_channel_shuffle():
    """Groups are tied by the shuffle: a pair of channels goes with its groups only."""
    net = nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU(), nn.ChannelShuffle(2), nn.Conv2d(6, 3, 1))
    kill(net[0], [1, 4])
    shapes, _ = reduced(net, IMAGE)
    assert shapes["0.weight"][0] in (4, 6)  # 4 where both sides of the shuffle are seen


def test_group_norm_groups():
    net = nn.Sequential(nn.Conv2d(2, 6, 1), nn.GroupNorm(3, 6), nn.ReLU(), nn.Conv2d(6, 3, 1))
    kill(net[0], [0, 2, 3])
    with torch.no_grad():
        net[1].bias[[2, 3]] = torch.tensor([-1.0, -2.0])
    shapes, _ = reduced(net, IMAGE)
    assert shapes["0.weight"][0] == 4 and shapes["1.weight"] == (4,)


def test_squeeze_and_excitation():
    net = Net(
        lambda m, x: m.out((y := F.relu(m.a(x))) * torch.sigmoid(m.up(F.relu(m.down(
            y.mean((2, 3), keepdim=True)))))),
        a=nn.Conv2d(2, 6, 3), down=nn.Conv2d(6, 4, 1), up=nn.Conv2d(4, 6, 1),
        out=nn.Conv2d(6, 3, 1),
    )  # fmt: skip
    kill(net.a, [0])
    kill(net.down, [1], bias=-1.0)
    shapes, _ = reduced(net, IMAGE)
    assert shapes["up.weight"][:2] == (5, 3) and shapes["out.weight"][1] == 5


def test_padded_shortcut():
    """Channels that the shortcut pads with zeros go with those of the branch."""
    net = Net(
        lambda m, x: m.out(F.relu(m.b(y := F.relu(m.a(x))) + F.pad(y, (0, 0, 0, 0, 1, 2)))),
        a=nn.Conv2d(2, 3, 1), b=nn.Conv2d(3, 6, 1), out=nn.Conv2d(6, 3, 1),
    )  # fmt: skip
    kill(net.a, [1])
    kill(net.b, [0, 2, 5])
    shapes, reduction = reduced(net, IMAGE)
    assert shapes["a.weight"][0] == 2 and shapes["b.weight"][0] == 3
    pads = [n.arguments["pad"] for n in reduction.network.graph.operators if n.operator == "pad"]
    assert pads == [(0, 0, 0, 0, 0, 1)]


def test_masks_that_pick_inputs():
    """A pick's choice shrinks with what it picks from."""
    from bitsback.graph import Node, Ref
    from bitsback.graph.ir import PARAMETER

    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(4, 3))
    net[2] = nn.Linear(6, 3)
    network = trace(net, V)
    graph, tensors = network.graph.copy(), dict(network.named_parameters())
    last = graph.operators[-1]
    kept = Node(PARAMETER, name="kept")
    pick = Node("pick", {"input": last.arguments["input"], "kept": Ref(kept)})
    at = graph.nodes.index(last)
    graph.nodes[at:at] = [kept, pick]
    last.arguments["input"] = Ref(pick)
    tensors["kept"] = torch.tensor([True, False, True, True, False, True])
    tensors["2.weight"] = nn.Parameter(tensors["2.weight"][:, tensors["kept"]].detach())
    with torch.no_grad():
        tensors["0.weight"][2], tensors["0.bias"][2] = 0, 0
    picked = GraphNetwork(graph, tensors)
    reduction = check_removal(picked, V)
    assert sizes(reduction.network)["kept"] == (3,)  # two were not picked, one is dead
    assert reduction.network.state_dict()["kept"].all()


def test_unpicked_dimensions_of_hyper_networks_stay():
    """A weight that depends on the inputs freezes what it reads."""
    net = Net(
        lambda m, x: F.linear(torch.sigmoid(m.a(x)), m.b(x).mean(0).view(3, 4)),
        a=nn.Linear(5, 4), b=nn.Linear(5, 12),
    )  # fmt: skip
    kill(net.a, [1], bias=1.0)
    shapes, _ = reduced(net, V)
    assert shapes["a.weight"] == (4, 5)


def test_a_weight_on_the_left():
    """Constants on the right of a matrix product are not taken in."""

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.w = nn.Linear(5, 4), nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.w @ torch.sigmoid(self.a(x))[:, :, None]

    net = Left()
    kill(net.a, [1], bias=1.0)
    assert reduced(net, V)[0]["a.weight"] == (4, 5)


def test_sums_over_the_batch():
    """A constant that is summed over the examples depends on how many there are."""
    net = Net(
        lambda m, x: m.b(x.new_zeros(1, 4) + torch.sigmoid(m.a(x)).sum(0, keepdim=True)) + x[:, :3],
        a=nn.Linear(5, 4), b=nn.Linear(4, 3),
    )  # fmt: skip
    kill(net.a, [2], bias=0.3)
    network = trace(net, V)
    small = remove_units(network).network
    for count in (1, 4, 8):
        x = torch.randn(count, 5)
        with torch.no_grad():
            assert_same(network(x), small(x), 1e-5)


def test_the_plan_says_what_stays():
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    kill(net[0], [1])
    network = trace(net, V)
    plan = Plan(network)
    relu = next(n for n in network.graph.operators if n.operator == "relu")
    from bitsback.graph import Ref

    assert plan.kept(Ref(relu))[0] is None
    np.testing.assert_array_equal(plan.kept(Ref(relu))[1], [True, False, True, True])
    assert plan.reduced(network).units == 1


def test_frozen_parameters_and_buffers_keep_their_kind():
    net = nn.Sequential(nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3))
    net[2].bias.requires_grad_(False)
    kill(net[0], [1])
    small = remove_units(trace(net, V)).network
    assert not small.get_parameter("2.bias").requires_grad
    assert small.get_parameter("2.weight").requires_grad
    assert weights_in(small) == 3 * 5 + 3 + 3 * 3 + 3
