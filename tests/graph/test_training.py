"""Noise of training mode: a traced network drops as the original does, and not in eval mode."""

import pytest
import torch
from bitsback.graph import GraphNetwork, Untraceable, trace
from bitsback.graph.training import switching
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import assert_same, check_removal

V, S = torch.randn(6, 4), torch.randn(6, 5, 4)


class Net(nn.Module):
    """A hidden layer, and what is done to it, which may look at `training`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
        self.rnn: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(self.first(x)))

    def hidden(self, x: Tensor) -> Tensor:
        return x


class Functional(Net):
    def hidden(self, x):
        return F.dropout(x, 0.4, training=self.training)


class Branch(Net):
    def hidden(self, x):
        return F.dropout(x, 0.4) if self.training else x


class Features(Net):
    def hidden(self, x):
        return F.dropout1d(x.relu(), 0.4, self.training)


class Alpha(Net):
    def hidden(self, x):
        return F.feature_alpha_dropout(F.selu(x), 0.4, self.training)


class Slopes(Net):
    def hidden(self, x):
        return F.rrelu(x, 0.1, 0.9, self.training)


class Depth(Net):
    """Stochastic depth, as the libraries of image networks write it."""

    def hidden(self, x):
        return x + self.drop(x.relu())

    def drop(self, x):
        if not self.training:
            return x
        noise = torch.empty([x.shape[0], *[1] * (x.dim() - 1)]).bernoulli_(0.6)
        return x * noise.div_(0.6)


class Attention(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.4, batch_first=True)
        self.weights, self.last = weights, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(x, x, x, need_weights=self.weights)[0])


class Scaled(Net):
    def hidden(self, x):
        q, k = x.chunk(2, -1)
        p = 0.4 if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, k, dropout_p=p)
        return torch.cat([y, y], -1)


class Recurrent(Net):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.rnn = kind(8, 8, 2, batch_first=True, dropout=0.4)

    def hidden(self, x):
        return self.rnn(x)[0]


NOISY = {
    "functional": (Functional, V),
    "branch": (Branch, V),
    "features": (Features, S),
    "alpha": (Alpha, S),
    "slopes": (Slopes, V),
    "depth": (Depth, S),
    "attention": (lambda: Attention(False), S),
    "weights": (lambda: Attention(True), S),
    "scaled": (Scaled, S),
    "encoder": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.4, batch_first=True), S),
    "lstm": (lambda: Recurrent(nn.LSTM), S),
    "gru": (lambda: Recurrent(nn.GRU), S),
    "module": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.4), nn.RReLU()), V),
}


def moments(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        draws = torch.stack([net(x) for _ in range(400)]).double()
    return draws.mean(0), draws.std(0)


@pytest.mark.parametrize("name", NOISY)
def test_training_mode_draws_as_the_network_does(name):
    """Mean and spread of the outputs; in eval mode there is no noise."""
    torch.manual_seed(1)
    factory, x = NOISY[name]
    net = factory()
    network = trace(net, x)
    with torch.no_grad():
        assert_same(net.eval()(x), network(x), 1e-6)
    (mean, std), (a, b) = moments(net.train(), x), moments(network.train(), x)
    assert float(std.max()) > 0.01
    stderr = (std**2 + b**2).sqrt() / 20 + 1e-3
    assert bool(((mean - a).abs() < 6 * stderr).all())
    assert bool(((std - b).abs() < 0.25 * std.max()).all())


def test_the_network_keeps_its_modes():
    net = Branch().train()
    net.last.eval()
    trace(net, V)
    assert net.training and net.first.training and not net.last.training


class Statistics(Net):
    """In training mode it does something else than draw noise, or draws what no row can say."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.norm = nn.BatchNorm1d(8)

    def hidden(self, x):
        x = self.norm(x)
        if not self.training:
            return x
        if self.what == "scale":
            return 2 * F.dropout(x, 0.4)
        return x + torch.randn_like(x) if self.what == "noise" else F.dropout(x, 0.4)


@pytest.mark.parametrize(("what", "drops"), [("scale", 0), ("noise", 0), ("dropout", 1)])
def test_where_the_program_of_training_is_another(what, drops):
    """The graph is then that of eval mode. BatchNorm is always that of eval mode."""
    network = trace(Statistics(what), V)
    operators = [node.operator for node in network.graph.operators]
    assert operators.count("dropout") == drops and "batch_norm" not in operators


def test_noise_in_eval_mode_is_refused():
    class Always(Net):
        def hidden(self, x):
            return F.dropout(x, 0.4)

    with pytest.raises(Untraceable, match="drops at random in eval mode"):
        trace(Always(), V)


def test_units_behind_noise_go():
    net = Attention(False).eval()
    with torch.no_grad():
        net.attention.out_proj.weight[:, 2:] = 0
    network = trace(net, S)
    assert check_removal(network, S).units == 1
    (node,) = (n for n in network.graph.operators if n.operator == "attention_dropout")
    assert node.arguments["p"] == pytest.approx(0.4)


def test_which_modules_switch():
    assert (
        switching(nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3), nn.MultiheadAttention(4, 2))) == []
    )
    assert switching(Net()) == []
    net = nn.Sequential(Branch(), nn.MultiheadAttention(4, 2, dropout=0.1))
    assert switching(net) == [net[0], net[1]]
    traced = trace(Branch(), V)
    assert isinstance(traced, GraphNetwork) and trace(traced, V) is traced
