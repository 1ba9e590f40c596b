"""Networks whose tensors have other names or forms than those of their file."""

import copy

import bitsback
import pytest
import torch
from bitsback.compression.into import computes_as
from bitsback.graph import trace
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization

X = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))


def two_layers(width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 3))


class Constants(nn.Module):
    """A buffer that no state_dict has, an attribute, and a constant of the code."""

    def __init__(self):
        super().__init__()
        self.layers = two_layers()
        self.register_buffer("scale", torch.rand(8) + 0.5, persistent=False)
        self.shift = torch.randn(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x * self.scale + self.shift) * torch.tensor([1.0, 2.0, 3.0])


class Scaled(nn.Module):
    """A parameter in another shape."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 4, 3), nn.Linear(24, 3)
        self.gamma = nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x[:, None]) * self.gamma.reshape(-1, 1)
        return self.last(x.tanh().flatten(1))


class LowRank(nn.Module):
    """A weight that is a sum with a product."""

    def __init__(self):
        super().__init__()
        self.layers = two_layers()
        self.down, self.up = (nn.Parameter(torch.randn(*s) / 2) for s in ((2, 8), (8, 2)))

    def forward(self, x: Tensor) -> Tensor:
        first = self.layers[0]
        x = linear(x, first.weight + self.up @ self.down, first.bias)
        return self.layers[2](x.tanh())


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = two_layers()
        self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, 5)
        self.head.weight = nn.Parameter(self.head.weight.detach().clone())
        self.other = nn.Linear(8, 5)
        self.other.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2

    def right_inverse(self, x: Tensor) -> Tensor:
        return x * 2


def with_first(change) -> nn.Sequential:
    net = two_layers()
    change(net[0])
    return net


def parametrized(how: nn.Module) -> nn.Sequential:
    return with_first(lambda layer: register_parametrization(layer, "weight", how))


def file_of(net: nn.Module, path) -> nn.Module:
    """Write a network, compressed, and return what its file computes."""
    bitsback.shrink(net, X, max_drop=20.0).save(path)
    return bitsback.load(path)


HELD = {
    "constants": Constants,
    "reshaped": Scaled,
    "low rank": LowRank,
    "weight_norm": lambda: with_first(parametrizations.weight_norm),
    "old weight_norm": lambda: with_first(nn.utils.weight_norm),
    "inverse": lambda: parametrized(Halved()),
    "masked": lambda: with_first(lambda layer: prune.l1_unstructured(layer, "weight", 0.4)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("name", HELD)
def test_the_network_before_compression_takes_its_file(name, tmp_path):
    torch.manual_seed(0)
    net = HELD[name]().eval()
    own = file_of(net, tmp_path / "net.bb")
    for into in (net, copy.deepcopy(net).train() if name != "old weight_norm" else HELD[name]()):
        if name == "constants":
            into.scale.zero_()
        assert bitsback.load(tmp_path / "net.bb", into=into) is into and not into.training
        assert torch.allclose(into(X), own(X), atol=1e-5)


def test_a_slice_of_zeros_has_no_direction(tmp_path):
    """Rows that are zero: their norm is 0."""
    net = with_first(parametrizations.weight_norm).eval()
    with torch.no_grad():
        net[0].parametrizations.weight.original0[2] = 0
    own = file_of(net, tmp_path / "net.bb")
    into = bitsback.load(tmp_path / "net.bb", into=net)
    assert torch.allclose(into(X), own(X), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: parametrized(Symmetric()), "by Symmetric: it has no right_inverse"),
        (
            lambda: with_first(parametrizations.spectral_norm),
            "'0.weight' .* by SpectralNorm: ",
        ),
        (lambda: with_first(parametrizations.orthogonal), "'0.weight' .* computed by Orthogonal"),
    ],
)
def test_weights_that_a_network_cannot_compute(make, match, tmp_path):
    torch.manual_seed(0)
    net = make().eval()
    file_of(net, tmp_path / "net.bb")
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=match) as caught:
        bitsback.load(tmp_path / "net.bb", into=net.train())
    assert "without into=" in str(caught.value) and net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_forward_never_uses_stays(tmp_path):
    torch.manual_seed(0)
    net = Unused().eval()
    own = file_of(net, tmp_path / "net.bb")
    into = Unused()
    before = copy.deepcopy(into.state_dict())
    with pytest.warns(UserWarning, match="no numbers for 'norm.weight', .* stay as they are"):
        assert bitsback.load(tmp_path / "net.bb", into=into) is into
    assert torch.equal(into(X), own(X)) and isinstance(into.norm, nn.BatchNorm1d)
    after = into.state_dict()
    assert all(torch.equal(after[n], v) for n, v in before.items() if not n.startswith("layers"))


class Exponent(Scaled):
    """What tracing computes once from a parameter is no parameter of the network."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x[:, None]) * self.gamma.exp().reshape(-1, 1)
        return self.last(x.tanh().flatten(1))


def test_a_function_of_a_parameter(tmp_path):
    torch.manual_seed(0)
    net = Exponent().eval()
    file_of(net, tmp_path / "net.bb")
    with pytest.raises(
        ValueError, match=r"'gamma' .* code computes another tensor .* without into"
    ):
        bitsback.load(tmp_path / "net.bb", into=net)


class Grown(Scaled):
    """What tracing computes once has the name and the shape of a parameter."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(6) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x[:, None]) * self.gamma.exp()
        return self.last(x.tanh().flatten(1))


class Drawn(nn.Module):
    """A network that draws random numbers in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + torch.randn_like(x))


def test_a_function_by_the_name_of_its_parameter(tmp_path):
    torch.manual_seed(0)
    net = Grown().eval()
    own = file_of(net, tmp_path / "net.bb")
    other = Grown().train()
    before = copy.deepcopy(other.state_dict())
    with pytest.warns(UserWarning, match="something else with the numbers of the file"):
        found = bitsback.load(tmp_path / "net.bb", into=other)
    assert found is not other and torch.equal(found(X), own(X))
    assert all(torch.equal(before[n], v) for n, v in other.state_dict().items())
    assert other.training and other.first.training


def test_whether_a_network_computes_as_the_file_does():
    net = trace(two_layers().eval(), X)
    assert computes_as(two_layers().eval(), net) is False
    assert computes_as(net, net) and computes_as(nn.Linear(5, 3), net)
    drawn = trace(nn.Linear(8, 3).eval(), X)
    assert computes_as(Drawn().eval(), drawn)


def test_another_network_is_told_what_differs(tmp_path):
    file_of(two_layers().eval(), tmp_path / "net.bb")
    with pytest.raises(ValueError, match=r"it lacks .* or leave out into="):
        bitsback.load(tmp_path / "net.bb", into=nn.Linear(8, 3))
