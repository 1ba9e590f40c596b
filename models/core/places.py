"""Weights put into a network for the time of a call."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class Places:
    """Where the latent weights of a network and of its copies stand.

    :param names: all names of each weight, by its first one.
    """

    def __init__(self, names: Mapping[str, list[str]]):
        self.names = dict(names)

    def empty(self, net: nn.Module) -> None:
        """Take the weights out of a network: `net.parameters()` no longer has them."""
        for names in self.names.values():
            for name in names:
                _put(net, name, None)
        self._refresh(net)

    @contextmanager
    def filled(self, net: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """The network with these weights in their places."""
        try:
            for first, names in self.names.items():
                for name in names:
                    _put(net, name, weights[first])
            self._refresh(net)
            yield
        finally:
            self.empty(net)

    def _refresh(self, net: nn.Module) -> None:
        """Recurrent layers keep a list of their weights beside them."""
        for path in {n.rpartition(".")[0] for names in self.names.values() for n in names}:
            layer = _module(net, path)
            if isinstance(layer, nn.RNNBase):
                layer._flat_weights = [getattr(layer, n, None) for n in layer._flat_weights_names]
                # References tell the layer that its weights have changed; here they have not.
                layer._flat_weight_refs = [None] * len(layer._flat_weights)


def _put(net: nn.Module, name: str, value: Tensor | None) -> None:
    """Written directly: an ordinary assignment of what is no `nn.Parameter` is refused."""
    path, _, leaf = name.rpartition(".")
    _module(net, path)._parameters[leaf] = value


def _module(net: nn.Module, path: str) -> nn.Module:
    """As `get_submodule`, which an attribute of the same name would hide."""
    for part in path.split(".") if path else ():
        net = net._modules[part]
    return net
