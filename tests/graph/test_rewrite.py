"""Edits of graphs: names of ReLUs, quantised ones, weights as products."""

import pytest
import torch
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.graph import (
    factorise,
    join_quantised_relus,
    parameters_of,
    quantise_relus,
    relu_names,
    trace,
)
from torch import nn

from .networks import call, make


def test_names_of_relus():
    """Modules go by their paths, functions by the path of the module that calls them."""
    net, x = make("resnet")
    expected = ["relu", *(f"layers.{i}{j}" for i in range(4) for j in ("", "~2"))]
    graph = trace(net, x).graph
    assert list(relu_names(graph)) == expected
    assert [node.operator for node in relu_names(graph).values()] == ["relu"] * 9
    net, x = make("vgg")
    graph = trace(net, x).graph
    assert list(relu_names(graph)) == ["features.2", "features.6", "classifier.1"]


class Clashing(nn.Module):
    """A module called "relu", and the network's own function beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(torch.relu(x) - 1)


def test_names_are_unique():
    assert list(relu_names(trace(Clashing(), torch.randn(2, 3)).graph)) == ["relu", "relu~2"]


def test_quantised_relus_keep_the_others_names():
    net, x = make("resnet")
    network = trace(net, x)
    made = quantise_relus(network, {"layers.0": (0.25, 3), "layers.3~2": (0.125, 4)})
    kinds = [node.operator for node in made.graph if node.operator.endswith("relu")]
    assert kinds.count("quantised_relu") == 2 and kinds.count("relu") == 7
    assert "layers.0~2" in relu_names(made.graph) and "layers.0" not in relu_names(made.graph)
    assert network.graph.operators[1].operator == "relu"  # not changed
    before, after = dict(parameters_of(network)), dict(parameters_of(made))
    assert before.keys() == after.keys() and all(before[k] is after[k] for k in before)
    with pytest.raises(ValueError, match="'nowhere' is no ReLU of the network"):
        quantise_relus(network, {"nowhere": (1.0, 1)})


def test_a_quantised_relu_is_traced_as_one_operator():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), QuantisedReLU(0.25, 3), nn.Linear(6, 2))
    x = torch.randn(5, 4)
    network = trace(net, x)
    assert [n.operator for n in network.graph.operators] == ["linear", "quantised_relu", "linear"]
    assert network.graph.operators[1].arguments["bits"] == 3
    torch.testing.assert_close(network(x), net(x), rtol=0, atol=0)


class Scaled(nn.Module):
    """What looks like a quantised ReLU, but is not quite."""

    def __init__(self, low: float, most: float, after: float) -> None:
        super().__init__()
        self.low, self.most, self.after = low, most, after

    def forward(self, x):
        return torch.clamp(torch.round(x / 0.25), self.low, self.most) * self.after


@pytest.mark.parametrize("given", [(-1, 7, 0.25), (0, 6, 0.25), (0, 7, 0.5), (0, 0, 0.25)])
def test_what_is_no_quantised_relu_stays(given):
    network = trace(Scaled(*given), torch.randn(2, 3))
    assert join_quantised_relus(network) is network


@pytest.mark.parametrize(
    ("name", "weight"), [("mlp", "2.weight"), ("resnet", "layers.2.conv1.weight")]
)
def test_a_weight_as_a_product(name, weight):
    net, x = make(name)
    network = trace(net, x)
    full = dict(parameters_of(network))[weight].detach().flatten(1)
    left, scale, right = torch.linalg.svd(full, full_matrices=False)
    made, names = factorise(network, {weight: (left * scale, right)})
    path = weight.removesuffix(".weight")
    assert names == {weight: (f"{path}.0.weight", f"{path}.1.weight", f"{path}.1.bias")}
    state = made.state_dict()
    assert {f"{path}.0.weight", f"{path}.1.weight", f"{path}.1.bias"} <= state.keys()
    assert weight not in state and f"{path}.bias" not in state
    torch.testing.assert_close(call(made, x), call(network, x), rtol=1e-4, atol=1e-5)
    assert weight in network.state_dict()  # not changed


def test_what_cannot_be_a_product_is_named():
    net, x = make("shufflenet")
    network = trace(net, x)
    eye = torch.eye(8)
    with pytest.raises(ValueError, match=r"'grouped\.weight' belongs to a convolution of 2 groups"):
        factorise(network, {"grouped.weight": (eye, eye[:, :4])})
    with pytest.raises(ValueError, match=r"'norm\.weight' is not the weight of a dense layer"):
        factorise(network, {"norm.weight": (eye, eye)})
    with pytest.raises(ValueError, match=r"factors of 'conv.weight' have shapes \(8, 8\) and"):
        factorise(network, {"conv.weight": (eye, eye)})
    net, x = make("gpt")
    with pytest.raises(ValueError, match=r"'wte\.weight' is"):
        factorise(trace(net, x), {"wte.weight": (torch.ones(11, 1), torch.ones(1, 12))})
    net, x = make("two-inputs")
    with pytest.raises(ValueError, match=r"'shared\.weight' is shared by several layers"):
        factorise(trace(net, x), {"shared.weight": (torch.ones(10, 1), torch.ones(1, 6))})
