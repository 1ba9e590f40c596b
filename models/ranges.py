"""Where learned ranges start, and how large their gradients are."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..common.modules import copied
from ..distributions.quantiser import largest_code, step_of
from ..graph import GraphNetwork, Ref, parameters_of, relu_names
from ..graph.values import Values

RANGES = ("published", "lsq", "pact")
_COUNTED = ("linear", "conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class Measured:
    """What one pass of a network tells: MACs by weight; largest and mean output by ReLU."""

    macs: dict[str, float]
    largest: dict[str, Tensor]
    mean: dict[str, Tensor]


@torch.no_grad()
def measured(
    net: nn.Module, weights: Mapping[str, Tensor], relus: list[str], x: Tensor
) -> Measured:
    """Run a copy of `net` on x.

    :param weights: by state_dict name.
    :param relus: paths of the ReLUs, or their names in a graph.
    """
    if isinstance(net, GraphNetwork):
        return _measured_graph(net, weights, relus, x)
    net, found = copied(net).to(x.device).eval(), Measured({}, {}, {})

    def count(name: str, weight: Tensor):
        def hook(module, given, output) -> None:
            found.macs[name] = weight.numel() * output[0].numel() / weight.shape[0]

        return hook

    def look(path: str):
        def hook(module, given, output) -> None:
            found.largest[path], found.mean[path] = output.max(), output.mean()

        return hook

    for name, weight in weights.items():
        net.get_submodule(name.rpartition(".")[0]).register_forward_hook(count(name, weight))
    for path in relus:
        net.get_submodule(path).register_forward_hook(look(path))
    net(x)
    return found


def _measured_graph(
    net: GraphNetwork, weights: Mapping[str, Tensor], relus: list[str], x: Tensor
) -> Measured:
    """The same of a graph. Weights of layers beside dense ones and convolutions have no MACs."""
    tensors = {name: tensor.to(x.device) for name, tensor in parameters_of(net)}
    values = Values(GraphNetwork(net.graph, tensors), [x])
    found, nodes = Measured({}, {}, {}), relu_names(net.graph)
    for node in net.graph.operators:
        weight = node.arguments.get("weight") if node.operator in _COUNTED else None
        if weight is not None and weight.node.name in weights:
            name, output = weight.node.name, values[Ref(node)]
            size = weights[name].numel() * output[0].numel() / weights[name].shape[0]
            found.macs[name] = found.macs.get(name, 0.0) + size
    for name in relus:
        output = values[Ref(nodes[name])]
        found.largest[name], found.mean[name] = output.max(), output.mean()
    return found


def weight_range(value: Tensor, width: int, lsq: bool) -> Tensor:
    """Where the range of a weight starts, scalar; LSQ says nothing of signs, 1 bit."""
    return lsq_range(value.abs().mean(), width, True) if lsq and width > 1 else widest(value)


def widest(value: Tensor) -> Tensor:
    """A range that holds all of a weight on a step that is then rounded by 2^-9, scalar."""
    return 1.01 * value.abs().max().clamp(min=1e-6)


def lsq_range(mean: Tensor, width: int, signed: bool) -> Tensor:
    """The range whose step is 2 mean(|x|) / sqrt(largest code) (Esser et al. 2020, section 2.1)."""
    wanted = 2 * mean / largest_code(width, signed) ** 0.5
    return wanted.clamp(min=1e-6) / step_of(torch.ones_like(mean), width, signed)


def lsq_scale(count: int, width: int, signed: bool) -> float:
    """1 / sqrt(values x largest code): LSQ's factor of a step's gradient (section 2.2)."""
    return (count * largest_code(width, signed)) ** -0.5
