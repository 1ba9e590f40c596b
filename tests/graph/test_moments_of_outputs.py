"""Second moments of gradients in the outputs of weights against probes added to the outputs."""

import pytest
import torch
from bitsback.graph import input_moments, output_moments, trace
from torch import Tensor, nn
from torch.nn import functional as F

F64 = torch.float64


def scores(output: Tensor) -> list[Tensor]:
    """Two functions of the outputs, each a sum over examples."""
    return [output.flatten(1).sin().sum(), (output.flatten(1).square() / 3).sum()]


def with_probe(net: nn.Module, layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The gradient of each score in what a layer gives."""
    probes = []

    def add(module, args, output):
        probes.append(torch.zeros_like(output, requires_grad=True))
        return output + probes[-1]

    handle = layer.register_forward_hook(add)
    output = net(x)
    handle.remove()
    return [
        torch.stack(torch.autograd.grad(score, probes, retain_graph=True))
        for score in scores(output)
    ]


def second_moment(rows: Tensor) -> Tensor:
    """(groups, n, units) -> mean of g g^T for each group."""
    return rows.mT @ rows / rows.shape[1]


def both(net: nn.Module, x, batches=None) -> tuple[dict[str, Tensor], dict[str, str]]:
    network = trace(net, x, fold=False)
    inputs = input_moments(network, [x]).weights
    return output_moments(network, batches or [x], scores, inputs)


def found_in(net: nn.Module, x, batches=None) -> dict[str, Tensor]:
    found, missing = both(net, x, batches)
    assert not missing
    return found


def test_of_dense_layers_in_batches():
    torch.set_default_dtype(F64)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).requires_grad_(False)
    x = torch.randn(7, 4)
    found = found_in(net, x, [x[:3], x[3:]])
    for name in ("0", "2"):
        grads = with_probe(net, net.get_submodule(name), x)
        expected = sum(second_moment(g.flatten(1, -2)) for g in grads)
        torch.testing.assert_close(found[f"{name}.weight"], expected)


def test_of_convolutions_it_is_the_mean_over_positions():
    torch.set_default_dtype(F64)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 6, 3, groups=2, stride=2), nn.Tanh(),
        nn.ConvTranspose2d(6, 4, 2, groups=2),
    )  # fmt: skip
    x = torch.randn(3, 2, 6, 5)
    found = found_in(net, x)
    for name, groups in (("0", 1), ("2", 2), ("4", 2)):
        grads = with_probe(net, net.get_submodule(name), x)
        rows = [g[0].flatten(2).unflatten(1, (groups, -1)) for g in grads]
        rows = [r.permute(1, 0, 3, 2).flatten(1, 2) for r in rows]
        torch.testing.assert_close(found[f"{name}.weight"], sum(map(second_moment, rows)))


def test_of_a_weight_used_twice_it_is_the_mean_over_uses():
    torch.set_default_dtype(F64)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.map(self.map(x).tanh())

    net, x = Twice(), torch.randn(5, 3)
    grads = with_probe(net, net.map, x)
    expected = sum(second_moment(g.flatten(0, -2)[None]) for g in grads)
    torch.testing.assert_close(found_in(net, x)["map.weight"], expected)


def test_of_embeddings():
    torch.set_default_dtype(F64)
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    x = torch.tensor([[0, 1, 1], [4, 2, 0]])
    grads = with_probe(net, net[0], x)
    expected = sum(second_moment(g.flatten(1, -2)) for g in grads)
    torch.testing.assert_close(found_in(net, x)["0.weight"], expected)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.attention(x, context, context, need_weights=False)[0]


def test_of_slices_there_is_a_group_for_each():
    """Biases of the three projections shift their outputs at all positions alike."""
    torch.set_default_dtype(F64)
    net, x, context = Attending(), torch.randn(1, 1, 4), torch.randn(1, 1, 4)
    found = found_in(net, (x, context))
    expected = torch.zeros(3, 4, 4)
    bias = net.attention.in_proj_bias
    for score in scores(net(x, context)):
        rows = torch.autograd.grad(score, bias, retain_graph=True)[0].reshape(3, 4)
        expected += rows[:, :, None] * rows[:, None, :]
    torch.testing.assert_close(found["attention.in_proj_weight"], expected)


def unrolled(kind: str, layer: nn.RNNBase, x: Tensor) -> tuple[Tensor, list, list]:
    """The outputs of a layer step by step, and probes on its two products at each step."""
    weights = [layer.weight_ih_l0, layer.weight_hh_l0]
    biases = [layer.bias_ih_l0, layer.bias_hh_l0]
    state = cell = x.new_zeros(len(x), layer.hidden_size)
    probes, outputs = ([], []), []
    for step in x.unbind(1):
        parts = []
        for value, weight, bias, kept in zip((step, state), weights, biases, probes, strict=True):
            kept.append(torch.zeros(len(x), len(weight), requires_grad=True))
            parts.append(F.linear(value, weight, bias) + kept[-1])
        if kind == "gru":
            (r, z, n), (r2, z2, n2) = (part.chunk(3, 1) for part in parts)
            r, z = (r + r2).sigmoid(), (z + z2).sigmoid()
            state = (1 - z) * (n + r * n2).tanh() + z * state
        elif kind == "lstm":
            i, f, g, o = (parts[0] + parts[1]).chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
        else:
            state = (parts[0] + parts[1]).tanh()
        outputs.append(state)
    return torch.stack(outputs, 1), *probes


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_of_recurrent_layers(kind):
    torch.set_default_dtype(F64)
    make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = make(3, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

    net, x = First(), torch.randn(4, 5, 3)
    outputs, inputs, loops = unrolled(kind, net.layer, x)
    torch.testing.assert_close(outputs, net(x))
    found = found_in(net, x)
    for name, probes in (("weight_ih_l0", inputs), ("weight_hh_l0", loops)):
        grads = [torch.autograd.grad(s, probes, retain_graph=True) for s in scores(outputs)]
        expected = sum(second_moment(torch.cat(g)[None]) for g in grads)
        torch.testing.assert_close(found[f"layer.{name}"], expected)


def test_what_has_no_gradient_of_each_example_is_named():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.places = nn.Embedding(5, 3), nn.Embedding(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.table(x) + self.places(torch.arange(2)), self.table.weight)

    x = torch.tensor([[0, 1], [1, 4]])
    found, missing = both(Tied(), x)
    assert not found
    assert missing == {
        "table.weight": "it is looked up as well as multiplied",
        "places.weight": "its inputs are the same for all examples",
    }


def test_a_wide_output_has_the_diagonal_only(monkeypatch):
    from bitsback.graph import moments

    net, x = nn.Linear(3, 4), torch.randn(6, 3)
    full = found_in(net, x)["weight"]
    monkeypatch.setattr(moments, "WIDEST", 3)
    diagonal = found_in(net, x)["weight"]
    torch.testing.assert_close(diagonal, full.diagonal(dim1=1, dim2=2))
