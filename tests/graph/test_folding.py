"""The folded network against the unfolded one, case by case."""

import copy

import pytest
import torch
from bitsback.graph import trace
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from .checks import assert_same, call, weights_in
from .networks import make

IMAGE = (2, 4, 6, 6)


def norm(channels: int, kind=nn.BatchNorm2d, **options) -> nn.Module:
    """A BatchNorm with statistics of its own."""
    made = kind(channels, **options)
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2)
    if made.affine:
        nn.init.uniform_(made.weight, -1.5, 1.5)
        nn.init.normal_(made.bias)
    return made


class Lambda(nn.Module):
    """Modules under names, and what is computed with them."""

    def __init__(self, function, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Tensor):
        return self.function(self, *inputs)


def conv(a: int = 4, b: int = 4, **options) -> nn.Module:
    return nn.Conv2d(a, b, 3, **options)


def case(net: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    return net.eval(), torch.randn(shape)


FULL = {  # every BatchNorm goes into a neighbour
    "behind": lambda: case(nn.Sequential(conv(), norm(4), nn.ReLU()), IMAGE),
    "behind, no bias": lambda: case(nn.Sequential(conv(bias=False, padding=1), norm(4)), IMAGE),
    "not affine": lambda: case(nn.Sequential(conv(), norm(4, affine=False)), IMAGE),
    "dense": lambda: case(nn.Sequential(nn.Linear(5, 4), norm(4, nn.BatchNorm1d)), (3, 5)),
    "ahead": lambda: case(nn.Sequential(norm(4), conv()), IMAGE),
    "ahead, dense": lambda: case(nn.Sequential(norm(5, nn.BatchNorm1d), nn.Linear(5, 3)), (3, 5)),
    "depthwise": lambda: case(nn.Sequential(conv(groups=4), norm(4)), IMAGE),
    "transposed": lambda: case(nn.Sequential(nn.ConvTranspose2d(4, 6, 3), norm(6)), IMAGE),
    "transposed, grouped": lambda: case(
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), norm(6)), IMAGE
    ),
    "one after the other": lambda: case(nn.Sequential(conv(), norm(4), norm(4)), IMAGE),
}
PART = {  # a BatchNorm stays as two vectors
    "ahead, padded": lambda: case(nn.Sequential(norm(4), conv(padding=1)), IMAGE),
    "ahead, grouped": lambda: case(nn.Sequential(norm(4), conv(groups=2)), IMAGE),
    "behind a ReLU": lambda: case(nn.Sequential(conv(), nn.ReLU(), norm(4), nn.ReLU()), IMAGE),
    "shared by two branches": lambda: case(
        Lambda(lambda m, x: m.bn(m.a(x)) + m.bn(F.relu(x[:, :, 1:-1, 1:-1])), bn=norm(4), a=conv()),
        IMAGE,
    ),
    "norm twice": lambda: case(
        Lambda(lambda m, x: m.bn(F.relu(x)) + m.bn(F.relu(m.bn(F.relu(-x)))), bn=norm(4)), IMAGE
    ),
    "convolution shared": lambda: case(
        Lambda(lambda m, x: m.a(m.bn(m.a(x))), bn=norm(4), a=conv(padding=1)), IMAGE
    ),
    "output read twice": lambda: case(
        Lambda(lambda m, x: (y := m.a(x)) + F.relu(m.bn(y)), bn=norm(4), a=conv()), IMAGE
    ),
    "output returned": lambda: case(
        Lambda(lambda m, x: ((y := m.a(x)), F.relu(m.bn(y))), bn=norm(4), a=conv()), IMAGE
    ),
    "behind a dense layer, on another axis": lambda: case(
        nn.Sequential(nn.Linear(5, 4), norm(7, nn.BatchNorm1d), nn.ReLU()), (3, 7, 5)
    ),
    "ahead of a dense layer, on another axis": lambda: case(
        nn.Sequential(nn.ReLU(), norm(7, nn.BatchNorm1d), nn.Linear(5, 4)), (3, 7, 5)
    ),
    "the same size on both axes": lambda: case(
        nn.Sequential(nn.Linear(5, 5), norm(5, nn.BatchNorm1d), nn.ReLU()), (3, 5, 5)
    ),
    "weight tied to another layer": lambda: case(_tied(), (3, 5)),
}


def _tied() -> nn.Module:
    net = Lambda(
        lambda m, x: F.relu(m.bn(m.a(x))) + m.b(x), a=nn.Linear(5, 5), b=nn.Linear(5, 5),
        bn=norm(5, nn.BatchNorm1d),
    )  # fmt: skip
    net.b.weight = net.a.weight
    return net


@pytest.mark.parametrize("name", [*FULL, *PART])
def test_norms(name):
    torch.manual_seed(0)
    net, x = {**FULL, **PART}[name]()
    plain, folded = trace(net, x, fold=False), trace(net, x)
    operators = {node.operator for node in folded.graph.operators}
    assert "batch_norm" not in operators
    assert ("affine" in operators) == (name in PART)
    with torch.no_grad():
        assert_same(plain(x), folded(x), 1e-5)
        assert_same(net(x), folded(x), 1e-5)
    assert weights_in(folded) < weights_in(plain)
    assert folded.state_dict().keys() - plain.state_dict().keys() <= {
        name.replace("weight", "bias") for name in plain.state_dict()
    } | {"1.weight", "1.bias"}


def _weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), nn.ReLU())


def _old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 4)), nn.ReLU())


def _spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)), nn.ReLU())


def _old_spectral() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(5, 4)), nn.ReLU())


def _pruned() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", 0.5)
    prune.ln_structured(net[0], "weight", 1, 2, 0)
    return net


@pytest.mark.parametrize(
    "make", [_weight_norm, _old_weight_norm, _spectral, _old_spectral, _pruned]
)
def test_computed_weights(make):
    """What is computed from parameters becomes one parameter under the layer's name."""
    net = make().eval()
    x = torch.randn(3, 5)
    plain, folded = trace(net, x, fold=False), trace(net, x)
    assert set(folded.state_dict()) == {"0.weight", "0.bias"}
    assert folded.get_parameter("0.weight").requires_grad
    assert torch.allclose(folded.state_dict()["0.weight"], net[0].weight, atol=1e-6)
    with torch.no_grad():
        assert_same(net(x), plain(x), 1e-5)
        assert_same(net(x), folded(x), 1e-5)
    assert len(folded.graph.operators) == 2


def test_what_is_read_elsewhere_is_not_folded():
    """A parameter of which another function is returned too stays as it is."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 5))

        def forward(self, x: Tensor):
            return F.linear(x, self.w.abs()), F.linear(x, self.w)

    net, x = Net(), torch.randn(3, 5)
    folded = trace(net, x)
    assert torch.equal(folded.state_dict()["w"], net.w)
    assert_same(net(x), folded(x), 1e-5)


def test_split_projections_stay_one_parameter():
    """Attention whose keys come from elsewhere splits its fused weight."""
    net = Lambda(
        lambda m, x: m.a(x, x.flip(1), x.flip(1))[0],
        a=nn.MultiheadAttention(6, 2, batch_first=True),
    ).eval()
    x = torch.randn(3, 4, 6)
    folded = trace(net, x)
    assert folded.state_dict()["a.in_proj_weight"].shape == (18, 6)
    assert_same(net(x), folded(x), 1e-5)


def test_frozen_parameters_stay_frozen():
    net, x = FULL["behind"]()
    net[0].weight.requires_grad_(False)
    folded = trace(net, x)
    assert not folded.get_parameter("0.weight").requires_grad
    assert folded.get_parameter("0.bias").requires_grad


def test_the_network_is_not_changed():
    net, x = FULL["behind"]()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plain = trace(net, x, fold=False)
    trace(net, x)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert plain.state_dict().keys() == {k for k in before if "num_batches" not in k}


def test_half_precision():
    net, x = FULL["behind"]()
    net, x = net.bfloat16(), x.bfloat16()
    folded = trace(net, x)
    assert {t.dtype for t in folded.state_dict().values()} == {torch.bfloat16}
    with torch.no_grad():
        assert_same(call(net, x), call(folded, x), 0.05)


def test_folding_rounds_once():
    """The folded network is about as near to float64 as the network: its rounding is float32's."""
    net, x = make("resnet")
    folded = trace(net, x)
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(x.double())
        own, found = (float((n(x) - exact).abs().max()) for n in (net, folded))
    assert found < 2 * own + 1e-7 * float(exact.abs().max())


def test_a_folded_weight_is_the_product_rounded():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(50, 40), nn.BatchNorm1d(40)).eval()
    nn.init.uniform_(net[1].weight, 0.1, 3)
    net[1].running_var.uniform_(0.1, 3)
    scale = net[1].weight.double() * (net[1].running_var.double() + net[1].eps).rsqrt()
    expected = (net[0].weight.double() * scale[:, None]).float()
    folded = trace(net, torch.randn(3, 50)).state_dict()["0.weight"]
    assert torch.equal(folded, expected)


@pytest.mark.parametrize("readers", [1, 2])
def test_features_of_very_different_sizes_keep_a_scale_each(readers):
    """On one step with the others, the weights of the largest feature would be 0."""
    net = Lambda(
        lambda m, x: m.a(m.norm(x)) + (m.b(m.norm(x).tanh()) if readers == 2 else 0),
        norm=norm(3, nn.BatchNorm1d), a=nn.Linear(3, 4), b=nn.Linear(3, 4),
    ).eval()  # fmt: skip
    net.norm.running_var.copy_(torch.tensor([1e-6, 1.0, 1e6]))
    x = torch.randn(5, 3) * net.norm.running_var.sqrt()
    folded = trace(net, x)
    assert torch.equal(folded.state_dict()["a.weight"], net.a.weight)
    buffers = dict(folded.named_buffers())
    assert {"norm.weight", "norm.bias"} <= buffers.keys()
    with torch.no_grad():
        assert_same(net(x), folded(x))
