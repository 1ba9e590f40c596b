"""What is summed over products: dims inside attention heads, axes of einsum."""

import pytest
import torch
from bitsback.graph import Evaluation, Facts, trace
from bitsback.graph.summed_axes import inner_axes, is_plain, zeros_of
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import assert_same, check_facts, check_removal

X = torch.randn(3, 5, 6)


class Heads(nn.Module):
    """Three heads of four dims, by torch's function or by single products."""

    def __init__(self, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.q, self.k, self.v = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(6, 12)
        self.o = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).view(-1, 5, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.plain:
            y = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.o(y.transpose(1, 2).reshape(-1, 5, 12))


def rows(dim: int) -> slice:
    """The rows of one dim of all heads."""
    return slice(dim, None, 4)


def left(net: nn.Module, x: Tensor = X) -> dict[str, tuple[int, ...]]:
    network = trace(net.eval(), x)
    check_facts(network, [x])
    small = check_removal(network, x).network
    return {name: tuple(tensor.shape) for name, tensor in small.state_dict().items()}


@torch.no_grad()
def silence(layer: nn.Linear, dims: list[int], bias: float = 0.0) -> None:
    for dim in dims:
        layer.weight[rows(dim)] = 0
        layer.bias[rows(dim)] = bias


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("silent", ["q", "k", "qk"])
def test_dims_of_queries_and_keys_go_from_all_heads(plain, silent):
    """The scale of torch's function stays that of the whole heads; else outputs would change."""
    net = Heads(plain)
    for name in silent:
        silence(getattr(net, name), [1, 3])
    shapes = left(net)
    assert shapes["q.weight"] == shapes["k.weight"] == (6, 6)
    assert shapes["v.weight"] == (12, 6) and shapes["o.weight"] == (4, 12)


def test_a_constant_of_a_query_is_no_reason():
    """It meets the keys, which are not zero."""
    net = Heads()
    silence(net.q, [1], bias=0.5)
    assert left(net)["q.weight"] == (12, 6)
    silence(net.k, [1])
    assert left(net)["q.weight"] == (9, 6)


@pytest.mark.parametrize("plain", [True, False])
def test_dims_of_values_go_with_columns_behind(plain):
    net = Heads(plain)
    with torch.no_grad():
        net.o.weight[:, rows(2)] = 0
    shapes = left(net)
    assert shapes["v.weight"] == (9, 6) and shapes["o.weight"] == (4, 9)
    assert shapes["q.weight"] == (12, 6)


def test_a_dim_of_one_head_stays():
    """All heads have as many dims."""
    net = Heads()
    with torch.no_grad():
        net.o.weight[:, 2] = 0
    assert left(net)["v.weight"] == (12, 6)


def test_heads_and_dims():
    net = Heads()
    silence(net.k, [0])
    with torch.no_grad():
        net.o.weight[:, 4:8] = 0
    shapes = left(net)
    assert shapes["k.weight"] == shapes["q.weight"] == (6, 6)
    assert shapes["v.weight"] == (8, 6)


class Equation(nn.Module):
    def __init__(self, equation: str, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.equation = equation
        self.first = nn.Linear(6, 4)
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum(self.equation, F.relu(self.first(x)), *self.weights)


@pytest.mark.parametrize(
    ("equation", "shape"),
    [
        ("btd,do->bto", (4, 3)),
        ("...d,do->...o", (4, 3)),
        ("b...d,d->b...", (4,)),
        ("btd , do", (4, 3)),
        ("...td,...do", (4, 3)),
        ("btd,tdo->bo", (5, 4, 3)),
    ],
)
def test_what_an_equation_sums_over_goes(equation, shape):
    net = Equation(equation, shape)
    network = trace(net.eval(), X)
    (node,) = (n for n in network.graph.operators if n.operator == "einsum")
    assert is_plain(node)
    with torch.no_grad():
        assert_same(net(X), network(X))
        net.weights[0].select(len(shape) // 3, 1).zero_()
        net.first.weight[2], net.first.bias[2] = 0, -1
    assert left(net)["first.weight"] == (2, 6)


def test_letters_that_stay_and_letters_twice():
    net = Equation("btd,td->btd", (5, 4))
    with torch.no_grad():
        net.weights[0][:, 1] = 0
    check_facts(trace(net.eval(), X), [X])
    assert left(nn.Sequential(net, nn.Linear(4, 2)))["0.first.weight"] == (3, 6)
    square = Equation("bdd->bd")
    square.first = nn.Linear(6, 5)
    network = trace(square.eval(), X)
    assert not any(is_plain(n) for n in network.graph.operators if n.operator == "einsum")
    assert left(square)["first.weight"] == (5, 6)


def test_zeros_of_factors():
    network = trace(Heads().eval(), X)
    with torch.no_grad():
        network.state_dict()["q.weight"].zero_()
        network.state_dict()["q.bias"].zero_()
    facts = Facts(Evaluation(network))
    (node,) = (n for n in network.graph.operators if n.operator == "attention")
    ((query, key),) = inner_axes(node, facts.shape)
    assert query == (node.arguments["query"], -1) and key[1] == -1
    assert [zero.tolist() for zero in zeros_of(facts, (query, key))] == [[True] * 4, [False] * 4]
    assert inner_axes(node.arguments["query"].node, facts.shape) == []


class Product(nn.Module):
    def __init__(self, equation: str | None) -> None:
        super().__init__()
        self.equation, self.a, self.b = equation, nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        return a @ b.mT if self.equation is None else torch.einsum(self.equation, a, b)


@pytest.mark.parametrize("equation", [None, "btd,bsd->bts"])
def test_a_product_of_constants_stays(equation):
    """It adds their product, which no bias takes in."""
    net = Product(equation)
    with torch.no_grad():
        for layer in (net.a, net.b):
            layer.weight[1], layer.bias[1] = 0, 0.7
            layer.weight[2], layer.bias[2] = 0, 0
    shapes = left(net)
    assert shapes["a.weight"] == shapes["b.weight"] == (3, 6)
