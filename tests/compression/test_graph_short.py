"""Traced reference networks are written as they were when they were sequences of layers."""

from collections import OrderedDict

import pytest
import torch
from bitsback.compression import codec, file
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive
from bitsback.compression.describe import describe
from bitsback.compression.graph_architecture import GraphArchitecture
from bitsback.compression.select import Select
from bitsback.compression.short_form import TABLE
from bitsback.graph import GraphNetwork, Node, Ref, trace
from torch import nn

from .samples import archive
from .test_short_form import reduced, whole


def inputs(name: str) -> torch.Tensor:
    return torch.rand(3, *((64,) if name == "digits-mlp" else (1, 28, 28)))


@pytest.mark.parametrize("place", range(len(TABLE)))
@pytest.mark.parametrize("small", [False, True])
def test_the_same_bytes(place, small):
    """Of the same integers; units removed, and inputs picked, too."""
    name, _, version = TABLE[place]
    net = (reduced(name, narrow=place == 4) if small else whole(place)).eval()
    source = archive(net, label=name)
    graph = traced(net, inputs(name))
    architecture = describe(graph, name)
    data = file.encode(Archive(architecture, source.tensors))
    assert data == file.encode(source) and data[3] == version + codec.PREDICTED
    again = file.network(file.decode(data))
    assert isinstance(again, nn.Sequential)
    assert file.encode(Archive(describe(again, name), source.tensors)) == data
    x = torch.rand(3, *graph.graph.inputs[0].shape[1:])
    assert torch.allclose(again(x), filled(graph, again)(x), atol=1e-5)


def traced(net: nn.Module, x: torch.Tensor) -> GraphNetwork:
    """The network as a graph, a `pick` for each `Select`: traced without, then put in."""
    if isinstance(net, GraphNetwork):
        return net
    layers, picked, before = {}, {}, None
    for name, layer in net.named_children():
        if isinstance(layer, Select):
            before = name
            continue
        if before is not None:
            picked[f"{name}.weight"] = (f"{before}.kept", net.get_submodule(before).kept)
            layer, before = nn.Linear(len(picked[f"{name}.weight"][1]), layer.out_features), None
        layers[name] = layer
    wide = trace(nn.Sequential(OrderedDict(layers)).eval(), x)
    graph, tensors = wide.graph, dict(net.named_parameters())
    for node in list(graph.operators):
        weight = node.arguments.get("weight")
        if weight is not None and weight.node.name in picked:
            name, tensors[name] = picked[weight.node.name]
            mask = Node("parameter", name=name)
            pick = Node("pick", {"input": node.arguments["input"], "kept": Ref(mask)})
            node.arguments["input"] = Ref(pick)
            at = graph.nodes.index(node)
            graph.nodes[at:at] = [mask, pick]
    return GraphNetwork(graph, tensors)


def filled(graph: GraphNetwork, net: nn.Module) -> GraphNetwork:
    state = net.state_dict()
    return GraphNetwork(graph.graph, {name: state[name] for name in graph.state_dict()})


@pytest.mark.parametrize("label", [None, "lenet-5-caffe", "mine"])
def test_other_labels_have_no_short_form(label):
    net = trace(whole(1).eval(), inputs("lenet-300-100"))
    assert isinstance(describe(net, "lenet-300-100"), Architecture)
    assert isinstance(describe(net, label), GraphArchitecture)


def test_other_names_have_no_short_form():
    net = nn.Sequential(*whole(1).children()).eval()
    architecture = describe(trace(net, inputs("lenet-300-100")), "lenet-300-100")
    assert isinstance(architecture, GraphArchitecture)
    assert [spec.name for spec in architecture.tensors()][:2] == ["1.weight", "1.bias"]


def test_other_lines_have_no_short_form():
    """A network that uses one layer twice, or returns more than its last result."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(64, 100), nn.Linear(100, 50), nn.Linear(50, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.fc1(x.flatten(1)))
            z = torch.relu(self.fc2(y))
            return self.fc3(z) + z[:, :10]

    architecture = describe(trace(Twice(), inputs("digits-mlp")), "digits-mlp")
    assert isinstance(architecture, GraphArchitecture)
