"""The graph of a model's network, and the network computed without its dead units."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..graph import GraphNetwork, Untraceable, parameters_of, trace
from ..graph.alive import Alive, Kept, without

CLOSE = 1e-4  # of the largest output: by how much a traced network may differ from the module


def structure_of(net: nn.Module, example: Any) -> GraphNetwork | None:
    """The graph of a module, with the names of its parameters.

    :param net: not changed.
    :param example: a few inputs, as the module takes them; None: a plain module is not traced.
    :returns: None if it cannot be traced, or computes something else in training than its graph.
    """
    if isinstance(net, GraphNetwork) or example is None:
        return net if isinstance(net, GraphNetwork) else None
    with torch.inference_mode(False), torch.no_grad():
        try:
            network = trace(net, example, fold=False)
        except Untraceable:
            return None
        return network if _agree(net, network, example) else None


def _agree(net: nn.Module, network: GraphNetwork, example: Any) -> bool:
    """Whether both compute the same in both modes, from the same random numbers."""
    for training in (False, True):
        outputs = []
        for module in (net, network):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                try:
                    outputs.append(_called(copy.deepcopy(module).train(training), example))
                except (RuntimeError, ValueError):  # BatchNorm on too few numbers, for one
                    return False
        first, second = outputs
        same = isinstance(first, Tensor) and isinstance(second, Tensor)
        if not same or first.shape != second.shape:
            return False
        scale = first.abs().max().clamp(min=1.0)
        if not bool(((first - second).abs() <= CLOSE * scale).all()):
            return False
    return True


def _called(module: nn.Module, x: Any) -> Any:
    if isinstance(x, Mapping):
        return module(**x)
    return module(*x) if isinstance(x, tuple | list) else module(x)


def tensor_of(net: nn.Module, name: str) -> Tensor | None:
    """A parameter or buffer by its state_dict name; None if there is none."""
    *path, leaf = name.split(".")
    for part in path:
        net = net._modules.get(part)
        if net is None:
            return None
    value = net._parameters.get(leaf)
    return net._buffers.get(leaf) if value is None else value


def numbers_of(
    structure: GraphNetwork, net: nn.Module, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensor of each parameter of a graph: a latent weight, the network's own, or the graph's.

    :param net: a network whose point parameters and buffers count.
    :param weights: of the latent weights, by their state_dict names.
    """
    aliases = structure.graph.aliases
    latent = {aliases.get(name, name): value for name, value in weights.items()}
    found = {}
    for name, own in parameters_of(structure):
        value = latent.get(name)
        value = tensor_of(net, name) if value is None else value
        found[name] = own if value is None else value
    return found


class Reduced:
    """A network computed without its dead units.

    :param structure: the whole network; its numbers do not matter.
    :param dead: which of its units are removed, bool, shape (units,).
    :param device: where the network is computed.
    """

    def __init__(
        self, structure: GraphNetwork, dead: np.ndarray, device: torch.device | str = "cpu"
    ) -> None:
        with torch.inference_mode(False):  # indices outlive the pass that asks for them first
            self.alive: Alive = without(structure, dead)
            self.structure = structure
            empty = dict.fromkeys(self.alive.kept, torch.empty(0))
            self.network = GraphNetwork(self.alive.graph, empty)
            self._places = {
                name: [None if p is None else torch.from_numpy(p).to(device) for p in kept]
                for name, kept in self.alive.kept.items()
            }

    def kept(self, name: str) -> Kept:
        """For each axis of a parameter the positions that are left, None for all."""
        return self.alive.kept[self.structure.graph.aliases.get(name, name)]

    def places(self, name: str) -> list[Tensor | None]:
        """The same as tensors."""
        return self._places[self.structure.graph.aliases.get(name, name)]

    def part(self, name: str, value: Tensor) -> Tensor:
        """What is left of a parameter's tensor; the tensor itself if all is."""
        for axis, index in enumerate(self.places(name)):
            if index is not None:
                value = value.index_select(axis, index)
        return value

    def numbers(self, net: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is left of all the network's tensors, by name; see `numbers_of`."""
        whole = numbers_of(self.structure, net, weights)
        return {name: self.part(name, value) for name, value in whole.items()}

    def compute(self, x: Any, net: nn.Module, weights: Mapping[str, Tensor]) -> Any:
        """The network's output; statistics of its norms are updated as in the whole network."""
        tensors = self.numbers(net, weights)
        self.network.training = net.training
        output = self.network.compute(inputs_of(x), tensors)
        if net.training:
            self._put_back(net, tensors)
        return output

    @torch.no_grad()
    def _put_back(self, net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        for name in _statistics(self.alive.graph.operators):
            whole = tensor_of(net, name)
            if whole is not None and tensors[name] is not whole:
                (index,) = self.places(name)
                whole.index_copy_(0, index, tensors[name])


def _statistics(operators: Iterable) -> list[str]:
    """The names of what norms change in training."""
    return [
        node.arguments[which].node.name
        for node in operators
        if node.operator == "batch_norm"
        for which in ("running_mean", "running_var")
    ]


def inputs_of(x: Any) -> list[Tensor]:
    """A network's inputs in the order of its graph."""
    if isinstance(x, Mapping):
        return list(x.values())
    return list(x) if isinstance(x, tuple | list) else [x]
