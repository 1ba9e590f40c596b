"""Networks without a graph: the moments and importances of their layers, by hooks."""

import torch
from bitsback.compression.describe import describe
from bitsback.compression.hooked import Hooked
from bitsback.compression.rounding import with_weights
from bitsback.compression.sensitivity import sensitivities
from bitsback.compression.sequential import without_inputs
from bitsback.graph import input_moments, trace
from torch import nn


class Twice(nn.Module):
    """Its control flow depends on the data; one layer is called twice, an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(2, 6, 3, padding=1), nn.LSTM(6, 6, batch_first=True)
        self.twice, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.own = nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        x = self.conv(x).relu_() if float(x.sum()) < 1e9 else x
        x = self.lstm(x.mT)[0][:, -1]
        return self.head(self.twice(self.twice(x).relu_()) @ self.own)


def hooked(net, x, likelihood="normal"):
    specs = describe(net, weights=[n for n, p in net.named_parameters() if p.dim() > 1]).tensors()
    weights, vectors = ([s.name for s in specs if s.role == role] for role in ("weight", "bias"))
    return Hooked(net.requires_grad_(False), x, weights, vectors, likelihood)


def correlated(n):
    return torch.randn(n, 2, 7) + 2 * torch.randn(n, 1, 1)


def test_moments_and_importances_are_those_of_the_graph():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)).eval()
    x = torch.randn(150, 4)  # two batches
    found, graph = hooked(net, x, "categorical"), trace(net.requires_grad_(False), x[:2])
    right = input_moments(graph, [x]).weights
    nodes = {n: n.arguments["weight"].node.name for n in graph.graph.operators if n.refs()[1:]}
    squares = sensitivities(graph, x, list(nodes), "categorical")
    for node, name in nodes.items():
        torch.testing.assert_close(found.moments[name].inputs, right[name].inputs)
        torch.testing.assert_close(found.importance[name], squares[node], rtol=1e-4, atol=0)


def test_layers_called_twice_and_weights_of_no_layer():
    torch.manual_seed(0)
    net, x = Twice().eval(), correlated(120)
    found = hooked(net, x)
    assert found.blind == ["own"]
    assert found.moments["lstm.weight_hh_l0"].inputs.shape == (1, 6, 6)
    again = []
    net.twice.register_forward_hook(lambda _, given, __: again.append(given[0].clone()))
    with torch.no_grad():
        net(x)
    once = torch.cat(again)
    torch.testing.assert_close(found.moments["twice.weight"].inputs[0], once.T @ once / 120)
    assert not any(m._forward_hooks for m in net.modules() if m is not net.twice)


def test_inputs_make_better_use_of_the_same_price():
    torch.manual_seed(0)
    net, x = Twice().eval(), correlated(120)
    found = hooked(net, x)

    def loss(codes):
        with torch.no_grad():
            return float((with_weights(net, codes)(x) - net(x)).square().mean())

    codes = found.quantised(1e-9)
    assert set(codes) == {*found.tensors}
    assert loss(codes) < 1e-5
    assert loss(found.quantised(1e-5)) < loss(found.quantised(1e-3))


def test_a_layer_that_is_never_called_is_rounded_by_itself():
    net = Twice().eval()
    net.spare = nn.Linear(3, 3)
    found = hooked(net, correlated(20))
    assert found.blind == ["own", "spare.weight"]
    rounded = without_inputs({name: found.tensors[name] for name in found.blind}, 1e-4)
    codes = found.quantised(1e-4)
    assert all((codes[name].codes == rounded[name].codes).all() for name in rounded)


def test_a_network_that_leaves_torch_is_rounded_weight_by_weight():
    class Leaves(nn.Linear):
        def forward(self, x):
            return torch.from_numpy(super().forward(x).numpy())

    assert hooked(Leaves(4, 3).eval(), torch.randn(20, 4)).blind == ["weight"]


def test_layers_of_packed_sequences_and_of_inputs_by_name_are_blind():
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 2)
            self.last = nn.Linear(2, 2)

        def forward(self, x):
            lengths = torch.full((len(x),), x.shape[1])
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.last(self.head(input=self.gru(packed)[1][0]))

    found = hooked(Packed().eval(), torch.randn(20, 5, 2))
    assert found.moments.keys() == {"last.weight"}
    assert {"gru.weight_ih_l0", "gru.weight_hh_l0", "head.weight"} == set(found.blind)
