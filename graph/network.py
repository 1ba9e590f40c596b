"""`GraphNetwork`: a plain `nn.Module` that computes what a graph says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .ir import INPUT, PARAMETER, Fixed, Graph, Node, Ref, TensorType, map_leaves
from .operators import Family
from .table import OPERATORS

# The call, where its arguments come from, whether it takes the training flag, or a device.
Step = tuple[Callable[..., Any], tuple[Any, ...], bool, bool]


class GraphNetwork(nn.Module):
    """A network that interprets a `Graph` with torch's operators.

    It has the state_dict names of the network that was traced, needs none of its classes, moves
    between devices, runs under `torch.compile` and `torch.export`, and trains: Dropout and
    BatchNorm follow `train()` and `eval()`. It starts in eval mode.

    :param graph: what it computes; used as it is, not copied.
    :param tensors: the numbers by parameter name; used as they are. An `nn.Parameter` becomes a
        parameter of this module, any other tensor a buffer.
    :raises ValueError: a parameter of the graph has no tensor.
    """

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.graph = graph
        #: Of the network that was traced: (shape, dtype) of each tensor of its state_dict, once.
        self.origin: tuple[TensorType, ...] | None = None
        for node in graph.parameters:
            if node.name not in tensors:
                raise ValueError(f"the graph's parameter {node.name!r} has no tensor")
            _put(self, node.name, tensors[node.name])
        for alias, name in graph.aliases.items():
            _put(self, alias, tensors[name])
        self._plan = _Plan(graph)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._plan.run(self, self._plan.inputs(args, kwargs))

    def compute(self, inputs: list[Tensor], tensors: Mapping[str, Tensor]) -> Any:
        """The network's output at other numbers than its own.

        :param inputs: in the order of the graph's inputs.
        :param tensors: by parameter name; those that are missing are the network's own.
        """
        return self._plan.run(self, inputs, tensors)

    def __deepcopy__(self, memo: dict) -> GraphNetwork:
        """A network of its own numbers; the graph, which nothing changes, is shared."""
        memo |= {id(part): part for part in (self.graph, self._plan)}
        new = memo[id(self)] = type(self).__new__(type(self))
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new

    def edited(self, graph: Graph, tensors: Mapping[str, Tensor]) -> GraphNetwork:
        """A network of another graph that was made from this one's, in eval mode.

        :param tensors: by name; those that the graph does not need are left out.
        """
        new = GraphNetwork(graph, {node.name: tensors[node.name] for node in graph.parameters})
        new.origin = self.origin
        return new

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> GraphNetwork:
        """A network of the same graph and mode with other numbers, used as they are."""
        new = GraphNetwork(self.graph, tensors)
        new.origin = self.origin
        return new.train(self.training)

    def extra_repr(self) -> str:
        return f"{len(self.graph.operators)} operators"


class _Plan:
    """A graph made ready to run: for each operator its call and where its arguments come from."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        place = {node: i for i, node in enumerate(graph.nodes)}
        self._inputs = [place[node] for node in graph.nodes if node.operator == INPUT]
        self._parameters = [
            (place[node], node.name) for node in graph.nodes if node.operator == PARAMETER
        ]
        self._steps = [(place[node], _step(node, place)) for node in graph.nodes if _computes(node)]
        self._size = len(graph.nodes)
        self._outputs = map_leaves(graph.outputs, lambda leaf: _source(leaf, place))

    def inputs(self, args: tuple, kwargs: dict) -> list[Tensor]:
        """The inputs in the order of the graph, from a call's arguments.

        Where the network takes one tuple or dictionary, its parts may also be given one by one:
        whoever calls cannot tell from this module's signature which of the two it takes.

        :raises TypeError: the call does not fit the signature, or an input has another shape or
            kind of numbers than the network was traced with.
        """
        positional, named = self._graph.signature
        found: dict[int, Any] = {}
        calls = [(args, kwargs), ((kwargs,), {}), ((args,), {})]
        if not any(_matches(positional, a, found) and _matches(named, k, found) for a, k in calls):
            raise TypeError(
                f"the network takes {_described(positional, named)}, as it was traced; "
                f"got {_described(args, kwargs)}"
            )
        for i, kind in enumerate(self._graph.inputs):
            _check_input(i, kind, found[i])
        return [found[i] for i in range(len(self._inputs))]

    def run(
        self, module: nn.Module, inputs: list[Any], tensors: Mapping[str, Tensor] | None = None
    ) -> Any:
        """The outputs, nested as the graph says."""
        values: list[Any] = [None] * self._size
        for place, value in zip(self._inputs, inputs, strict=True):
            values[place] = value
        for place, name in self._parameters:
            given = None if tensors is None else tensors.get(name)
            values[place] = _get(module, name) if given is None else given
        device = None
        for place, (call, sources, training, factory) in self._steps:
            arguments = [_built(source, values) for source in sources]
            if training:
                arguments.append(module.training)
            elif factory:
                device = _device(values) if device is None else device
                arguments.append(device)
            values[place] = call(*arguments)
        return _built(self._outputs, values)


class _From:
    """Where an argument comes from: result `index` of the value at `place`."""

    __slots__ = ("index", "place")

    def __init__(self, place: int, index: int | None) -> None:
        self.place, self.index = place, index


def _step(node: Node, place: Mapping[Node, int]) -> Step:
    row = OPERATORS[node.operator]
    sources = tuple(_sources(value, place) for value in node.arguments.values())
    return row.call, sources, row.trains, row.family is Family.FACTORY


def _sources(value: Any, place: Mapping[Node, int]) -> Any:
    if isinstance(value, tuple) and any(isinstance(part, Ref) for part in value):
        return tuple(_source(part, place) for part in value)
    return _source(value, place)


def _source(value: Any, place: Mapping[Node, int]) -> Any:
    if isinstance(value, Ref):
        return _From(place[value.node], value.index if _has_many(value.node) else None)
    return value


def _has_many(node: Node) -> bool:
    return _computes(node) and OPERATORS[node.operator].results != 1


def _computes(node: Node) -> bool:
    return node.operator not in (INPUT, PARAMETER)


def _built(source: Any, values: list[Any]) -> Any:
    """A value from where it comes from, nested ones opened."""
    if isinstance(source, _From):
        value = values[source.place]
        return value if source.index is None else value[source.index]
    if isinstance(source, tuple | list):
        return type(source)([_built(part, values) for part in source])
    if isinstance(source, dict):
        return {key: _built(part, values) for key, part in source.items()}
    return source.value if isinstance(source, Fixed) else source


def _device(values: list[Any]) -> torch.device | None:
    """Where the network computes: where its inputs are."""
    return next((value.device for value in values if isinstance(value, Tensor)), None)


def _matches(pattern: Any, given: Any, found: dict[int, Any]) -> bool:
    """Whether nested arguments have the structure of a signature; collects the inputs."""
    if isinstance(pattern, Fixed):
        return not isinstance(given, Tensor) and pattern.value == given
    if isinstance(pattern, int):
        found[pattern] = given
        return isinstance(given, Tensor)
    if isinstance(pattern, dict):
        return (
            isinstance(given, Mapping)
            and pattern.keys() == given.keys()
            and all(_matches(part, given[key], found) for key, part in pattern.items())
        )
    return (
        isinstance(given, tuple | list)
        and len(pattern) == len(given)
        and all(_matches(part, value, found) for part, value in zip(pattern, given, strict=True))
    )


def _check_input(number: int, kind: TensorType, given: Any) -> None:
    """Whether an input is what the network was traced with, but for the size of the batch.

    :raises TypeError: it is not.
    """
    shape = tuple(given.shape)
    fits = len(shape) == len(kind.shape) and all(
        size is None or size == n for size, n in zip(kind.shape, shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("batch" if size is None else str(size) for size in kind.shape)
        raise TypeError(f"input {number} must be of shape ({sizes}), not {shape}")
    wanted = getattr(torch, kind.dtype)
    if (
        wanted.is_floating_point != given.dtype.is_floating_point
        or wanted.is_complex != given.dtype.is_complex
    ):
        raise TypeError(f"input {number} must be {kind.dtype}, not {given.dtype}")


def _described(positional: tuple, named: dict) -> str:
    names = f" and {', '.join(map(repr, named))} by name" if named else ""
    return f"{len(positional)} positional argument{'s' * (len(positional) != 1)}{names}"


def _holder(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds a parameter, and its name there.

    Looked up in the modules' dictionaries, so that no name meets an attribute.
    """
    *path, leaf = name.split(".")
    for part in path:
        module = module._modules[part]
    return module, leaf


def _get(module: nn.Module, name: str) -> Tensor:
    holder, leaf = _holder(module, name)
    value = holder._parameters.get(leaf)
    return holder._buffers.get(leaf) if value is None else value


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    *path, leaf = name.split(".")
    for part in path:
        if part not in module._modules:
            module._modules[part] = nn.Module()
        module = module._modules[part]
    if isinstance(tensor, nn.Parameter):
        module._parameters[leaf] = tensor
    else:
        module._buffers[leaf] = tensor


def parameters_of(network: GraphNetwork) -> Iterator[tuple[str, Tensor]]:
    """Each parameter and buffer of the graph with its name, in the order of the graph."""
    for node in network.graph.parameters:
        yield node.name, _get(network, node.name)
