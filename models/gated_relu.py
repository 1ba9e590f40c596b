"""ReLUs whose outputs are quantised while a network trains, and which of them are."""

from collections.abc import Callable, Iterable
from itertools import pairwise

from torch import Tensor, nn

from ..graph import GraphNetwork
from .gated_graph import GatedGraph, graph_inputs

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
# What a quantised feature map goes through and stays on its grid, or on one that is finer by the
# number of values that a mean is over.
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_PASSING = (*_POOLS, *_MEANS, nn.Flatten, nn.Identity)


class GatedReLU(nn.Module):
    """A ReLU; where `quantiser` is given, that in its place.

    :param pool: a pooling by maxima that comes behind, taken first: neither the ReLU nor its grid
        changes which value is largest, and there are fewer left to round.
    """

    def __init__(self, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else pool
        self.quantiser: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return x.relu() if self.quantiser is None else self.quantiser(x)


def put_in(net: nn.Module, paths: Iterable[str]) -> nn.Module:
    """Replace ReLUs, each with the pooling by maxima behind it.

    :param net: an nn.Sequential, changed in place and returned, or a graph, which is not changed.
    :param paths: of the ReLUs; of a graph's, names as `graph.relu_names` has them.
    """
    if isinstance(net, GraphNetwork):
        return GatedGraph.of(net, {name: GatedReLU() for name in paths})
    layers = leaves_of(net)
    behind = {path: follows for (path, _), follows in pairwise(layers)}
    for path in paths:
        where, pool = behind.get(path, ("", None))
        pools = isinstance(pool, _POOLS) and not pool.return_indices
        _put(net, path, GatedReLU(pool if pools else None))
        if pools:
            _put(net, where, nn.Identity())
    return net


def gated(net: nn.Module, paths: Iterable[str]) -> dict[str, GatedReLU]:
    """The ReLUs that `put_in` has put in, by path or name."""
    if isinstance(net, GatedGraph):
        return {name: net.gates[name] for name in paths}
    return {path: net.get_submodule(path) for path in paths}


def _put(net: nn.Module, path: str, module: nn.Module) -> None:
    above, _, leaf = path.rpartition(".")
    setattr(net.get_submodule(above), leaf, module)


def inputs_of(net: nn.Module, names: tuple[str, ...]) -> dict[str, tuple[str | None, str | None]]:
    """Where each weight's inputs come from: the ReLU, and the weight whose units they are.

    The ReLU is None where the inputs are not on its grid, by something else in between; the weight
    where its units may not be told (and for the network's own inputs). Known for a graph, and for
    an nn.Sequential, nested or not, whose ReLUs are modules used once; for others all are None.

    :param names: state_dict names of the weights.
    """
    if isinstance(net, GraphNetwork):
        return graph_inputs(net.graph, names)
    result: dict[str, tuple[str | None, str | None]] = dict.fromkeys(names, (None, None))
    relu = before = None
    seen: set[int] = set()
    for path, module in leaves_of(net):
        name = f"{path}.weight" if path else "weight"
        if isinstance(module, _WEIGHTED):
            if name in result:
                result[name] = (relu, before)
            relu, before = None, (name if name in result else None)
        elif type(module) is nn.ReLU:
            relu = None if id(module) in seen else path
        elif type(module) not in _PASSING:
            relu = None
        if id(module) in seen:
            return dict.fromkeys(names, (None, None))
        seen.add(id(module))
    return result


def leaves_of(module: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """Layers in the order of computation; none unless all is nn.Sequential."""
    if not module._modules:
        return [(path, module)]
    if type(module).forward is not nn.Sequential.forward:
        return []
    found = []
    for name, child in module._modules.items():
        leaves = leaves_of(child, f"{path}.{name}" if path else name)
        if not leaves:
            return []
        found += leaves
    return found
