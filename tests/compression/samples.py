"""Archives for the codec's tests, from arithmetic alone: the same on every machine and version."""

from collections import OrderedDict

import numpy as np
import torch
from bitsback.compression.archive import Archive, Codebook, Quantised, Uniform, storable
from bitsback.compression.describe import describe
from bitsback.compression.select import Select
from bitsback.compression.sorted_rows import in_order
from bitsback.graph import Graph, GraphNetwork, Node, Ref
from bitsback.graph.ir import TensorType
from torch import nn


def noise(count: int, seed: int) -> np.ndarray:
    """Integers 0..65535 that look random: a linear congruential generator. int64, (count,)."""
    out, state = np.empty(count, dtype=np.int64), seed * 2654435761 + 12345
    for k in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out[k] = state >> 48
    return out


def sparse(shape: tuple[int, ...], percent: int, levels: int, seed: int) -> np.ndarray:
    """Codes of which so many percent are not zero, up to `levels` on either side."""
    size = int(np.prod(shape, dtype=int))
    there = noise(size, seed) % 100 < percent
    codes = 1 + noise(size, seed + 1) % levels
    signs = 1 - 2 * (noise(size, seed + 2) % 2)
    return (there * codes * signs).reshape(shape)


def codebook(negative: int, positive: int) -> Codebook:
    """So many values on either side."""
    return Codebook(
        -storable(0.1 + 0.05 * np.arange(negative)), storable(0.07 + 0.04 * np.arange(positive))
    )


def archive(net: nn.Module, percent: int = 30, label: str | None = None) -> Archive:
    """An archive of made-up numbers for a network; its own values where they are stored raw."""
    architecture = describe(net, label)
    state = net.state_dict()
    tensors = {}
    for seed, spec in enumerate(architecture.tensors()):
        if spec.role == "weight":
            tensors[spec.name] = Quantised(sparse(spec.shape, percent, 4, seed), codebook(4, 5))
        elif spec.role == "bias":
            codes = sparse(spec.shape, 90, 20, seed)
            tensors[spec.name] = Quantised(codes, Uniform(float(storable(0.01))))
        else:
            tensors[spec.name] = state[spec.name].numpy()
    return Archive(architecture, tensors)


def with_sorted_rows(found: Archive) -> Archive:
    """The same with the rows of every weight matrix and kernel sorted, in one group."""
    tensors, groups = dict(found.tensors), {}
    for spec in found.architecture.tensors():
        if spec.role == "weight" and spec.shape[0] > 1:
            tensor = tensors[spec.name]
            places = in_order(tensor.codes.reshape(len(tensor.codes), -1), len(tensor.codes))
            tensors[spec.name] = Quantised(tensor.codes[places], tensor.grid)
            groups[spec.name] = 1
    return Archive(found.architecture, tensors, groups)


def dense_net() -> nn.Module:
    """Choice of inputs, two dense layers, a BatchNorm."""
    kept = noise(25, 3) % 3 > 0
    return nn.Sequential(
        Select(torch.from_numpy(kept)),
        nn.Linear(int(kept.sum()), 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def conv_net() -> nn.Module:
    """Two convolutions and a dense layer after them."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def folded_net() -> nn.Module:
    """What is left of network lenet-5-caffe, its first layer without biases: format version 3."""
    layers = {"conv1": nn.Conv2d(1, 3, 5, bias=False), "pool1": nn.MaxPool2d(2)}
    layers |= {"conv2": nn.Conv2d(3, 2, 5), "pool2": nn.MaxPool2d(2)}
    layers |= {"flatten": nn.Flatten(), "fc1": nn.Linear(32, 4), "relu1": nn.ReLU()}
    return nn.Sequential(OrderedDict(layers | {"fc2": nn.Linear(4, 10)}))


def graph_net() -> nn.Module:
    """A residual block, a choice of what it gives, a dense layer: format version 4."""

    def parameter(name: str) -> Ref:
        return Ref(Node("parameter", name=name))

    x = Node("input", name="0")
    a = _conv(x, parameter("conv.weight"), parameter("conv.bias"))
    b = Node("relu", {"input": Ref(a)})
    c = _conv(b, parameter("layers.0.conv.weight"), parameter("layers.0.conv.bias"))
    d = Node("add", {"input": Ref(c), "other": Ref(b)})
    e = Node("flatten", {"input": Ref(d), "start_dim": 1, "end_dim": -1})
    f = Node("pick", {"input": Ref(e), "kept": parameter("select.kept")})
    g = Node("linear", {"input": Ref(f), "weight": parameter("fc.weight"), "bias": None})
    nodes = []
    for node in (x, a, b, c, d, e, f, g):
        nodes += [ref.node for ref in node.refs() if ref.node.operator == "parameter"] + [node]
    graph = Graph(nodes, (TensorType((None, 1, 6, 6), "float32"),), ((0,), {}), Ref(g))
    kept = torch.from_numpy(noise(108, 5) % 3 > 0)
    shapes = {"conv.weight": (3, 1, 3, 3), "conv.bias": (3,), "layers.0.conv.weight": (3, 3, 3, 3)}
    shapes |= {"layers.0.conv.bias": (3,), "fc.weight": (4, int(kept.sum()))}
    tensors = {name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()}
    return GraphNetwork(graph, tensors | {"select.kept": kept})


def _conv(source: Node, weight: Ref, bias: Ref) -> Node:
    once = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    return Node("conv2d", {"input": Ref(source), "weight": weight, "bias": bias, **once})


def short_net() -> nn.Module:
    """What is left of network digits-mlp, which has a short form: 3 inputs, 4 and 3 units."""
    layers = {"flatten": nn.Flatten(), "select": Select(torch.arange(64) % 30 == 1)}
    layers |= {"fc1": nn.Linear(3, 4), "relu1": nn.ReLU(), "fc2": nn.Linear(4, 3)}
    layers |= {"relu2": nn.ReLU(), "fc3": nn.Linear(3, 10)}
    return nn.Sequential(OrderedDict(layers))
