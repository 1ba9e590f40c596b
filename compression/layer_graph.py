"""A sequence of known layers as a graph of operators, without an example input.

`bitsback.load` gives such sequences for files of versions 1 to 3. Their inputs' height and width
are in no file; see `fitting_shape`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..graph import Graph, GraphNetwork, Node, Ref, trace
from ..graph.ir import INPUT, PARAMETER, TensorType
from ..graph.table import OPERATORS
from .quantised_relu import QuantisedReLU
from .select import Select

Shape = tuple[int, ...]
_LARGEST = 512  # height or width that is tried


def graph_of(network: nn.Module, shape: Shape | None = None, example: Any = None) -> GraphNetwork:
    """A network as a graph: as it is, by its layers, or traced; BatchNorm is not folded.

    :param shape: of one input, without the batch. For a sequence of known layers the default is
        what `fitting_shape` finds.
    :param example: what `graph.trace` takes; needed for any other module.
    :raises ValueError: the shape cannot be told and neither is given; a layer has no operator.
    """
    if isinstance(network, GraphNetwork):
        return network
    layers = list(layers_of(network))
    unknown = next(((p, m) for p, m in layers if not _is_known(m)), None)
    if unknown is None:
        if shape is None and example is not None and isinstance(example, Tensor):
            shape = tuple(example.shape[1:])
        return of_layers(network, fitting_shape(network) if shape is None else shape)
    if example is None and shape is not None:
        example = torch.zeros(2, *shape)
    if example is None:
        path, module = unknown
        raise ValueError(
            f"layer {path!r} is a {type(module).__name__}, no layer that is known by itself: give "
            "an example input, so that the network can be traced"
        )
    return trace(network, example, fold=False)


def is_sequence(network: nn.Module) -> bool:
    """Whether a network is a sequence of known layers, or one of them."""
    return all(_is_known(module) for _, module in layers_of(network))


def layers_of(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(path, layer) of every layer in the order of computation, nested sequences opened."""
    if type(module).forward is not nn.Sequential.forward:
        yield path, module
        return
    for name, child in module._modules.items():
        yield from layers_of(child, f"{path}.{name}" if path else name)


def of_layers(network: nn.Module, shape: Shape) -> GraphNetwork:
    """A sequence of known layers as a graph; parameters are shared with it, not copied.

    :param shape: of one input, without the batch.
    """
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    source = Node(INPUT, name="0")
    builder = _Builder(network, source)
    for path, module in layers_of(network):
        try:
            builder.add(path, module)
        except ValueError as error:
            raise ValueError(f"layer {path!r} {error}") from None
    kind = TensorType((None, *shape), str(dtype).removeprefix("torch."))
    graph = Graph(builder.nodes, (kind,), ((0,), {}), builder.at, builder.aliases)
    graph.prune()
    return GraphNetwork(graph, builder.tensors)


def fitting_shape(network: nn.Module) -> Shape:
    """The shape of one input of a sequence of known layers.

    What the first layer of weights takes; for convolutions the smallest square (or length) that all
    layers take.

    :raises ValueError: no layer says it, or no such square fits.
    """
    ask = "give the shape of one input (shape=, --shape) or an example (example=)"
    for _, module in layers_of(network):
        if isinstance(module, nn.Linear | Select):
            return (module.in_features if isinstance(module, nn.Linear) else module.kept.numel(),)
        if isinstance(module, nn.BatchNorm1d):
            return (module.num_features,)
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            dims = 1 if isinstance(module, nn.Conv1d) else 2
            for size in range(1, _LARGEST + 1):
                shape = (module.in_channels, *[size] * dims)
                if _runs(network, shape):
                    return shape
            raise ValueError(f"no square image of up to {_LARGEST} pixels fits all layers: {ask}")
    raise ValueError(f"no layer says what the inputs are: {ask}")


def _runs(network: nn.Module, shape: Shape) -> bool:
    made = of_layers(network, shape)
    like = next(network.parameters())
    x = torch.zeros(2, *shape, dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            if any(node.operator == "pick" for node in made.graph):
                made(x)  # which entries are picked is not known without values
            else:
                made.to("meta")(x.to("meta"))
    except (RuntimeError, IndexError, ValueError):
        return False
    return True


class _Builder:
    """The nodes so far; `at` is the value at their end."""

    def __init__(self, network: nn.Module, source: Node) -> None:
        self.nodes, self.at = [source], Ref(source)
        self.tensors: dict[str, Tensor] = {}
        self.aliases: dict[str, str] = {}
        self._placed: dict[int, Node] = {}

    def add(self, path: str, module: nn.Module) -> None:
        for operator, arguments in _LAYERS[type(module)](module):
            bound = {
                name: self._parameter(path, value, module) if isinstance(value, Tensor) else value
                for name, value in arguments.items()
            }
            bound = OPERATORS[operator].bind({"input": self.at, **bound})
            node = Node(operator, bound, scope=path)
            self.nodes.append(node)
            self.at = Ref(node)

    def _parameter(self, path: str, tensor: Tensor, module: nn.Module) -> Ref:
        own = {**module._parameters, **module._buffers}
        leaf = next(name for name, value in own.items() if value is tensor)
        name = f"{path}.{leaf}" if path else leaf
        if id(tensor) not in self._placed:
            node = self._placed[id(tensor)] = Node(PARAMETER, name=name)
            self.tensors[name] = tensor
            self.nodes.append(node)
        node = self._placed[id(tensor)]
        if node.name != name:
            self.aliases[name] = node.name
        return Ref(node)


Nodes = list[tuple[str, dict[str, Any]]]


def _is_known(module: nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return type(module) in _LAYERS and not hooked


def _tuple(value: Any, dims: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * dims


def _linear(m: nn.Linear) -> Nodes:
    return [("linear", {"weight": m.weight, "bias": m.bias})]


def _conv(dims: int) -> Callable[[Any], Nodes]:
    def nodes(m: Any) -> Nodes:
        padding = m.padding
        if padding == "valid":
            padding = (0,) * dims
        given = {"weight": m.weight, "bias": m.bias, "stride": m.stride, "groups": m.groups}
        given |= {"padding": padding, "dilation": m.dilation}
        if m.padding_mode == "zeros":
            return [(f"conv{dims}d", given)]
        around = tuple(m._reversed_padding_repeated_twice)
        pad = {"pad": around, "mode": m.padding_mode, "value": 0.0}
        return [("pad", pad), (f"conv{dims}d", {**given, "padding": (0,) * dims})]

    return nodes


def _batch_norm(m: Any) -> Nodes:
    if m.running_mean is None:
        raise ValueError(f"is a {type(m).__name__} without statistics: it depends on its batch")
    given = {"weight": m.weight, "bias": m.bias, "eps": m.eps}
    given |= {"running_mean": m.running_mean, "running_var": m.running_var}
    return [("batch_norm", {**given, "momentum": 0.1 if m.momentum is None else m.momentum})]


def _layer_norm(m: nn.LayerNorm) -> Nodes:
    given = {"weight": m.weight, "bias": m.bias, "eps": m.eps}
    return [("layer_norm", {"normalized_shape": tuple(m.normalized_shape), **given})]


def _pool(kind: str, dims: int) -> Callable[[Any], Nodes]:
    def nodes(m: Any) -> Nodes:
        kernel, stride = _tuple(m.kernel_size, dims), _tuple(m.stride, dims)
        given = {"kernel_size": kernel, "stride": (0,) * dims if stride == kernel else stride}
        given |= {"padding": _tuple(m.padding, dims), "ceil_mode": m.ceil_mode}
        if kind == "max":
            if m.return_indices:
                raise ValueError("returns the places of its maxima, which has no operator")
            given["dilation"] = _tuple(m.dilation, dims)
        else:
            given["count_include_pad"] = m.count_include_pad
            given["divisor_override"] = getattr(m, "divisor_override", None)
        return [(f"{kind}_pool{dims}d", given)]

    return nodes


def _adaptive(kind: str, dims: int) -> Callable[[Any], Nodes]:
    def nodes(m: Any) -> Nodes:
        if getattr(m, "return_indices", False) or None in _tuple(m.output_size, dims):
            raise ValueError(f"is a {type(m).__name__} that has no operator")
        return [(f"adaptive_{kind}_pool{dims}d", {"output_size": _tuple(m.output_size, dims)})]

    return nodes


def _plain(operator: str, *options: str) -> Callable[[Any], Nodes]:
    """A layer of one operator whose options have the layer's names."""
    return lambda m: [(operator, {name: getattr(m, name) for name in options})]


_LAYERS: dict[type, Callable[[Any], Nodes]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv(1),
    nn.Conv2d: _conv(2),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    Select: _plain("pick", "kept"),
    nn.Flatten: _plain("flatten", "start_dim", "end_dim"),
    nn.Identity: lambda m: [],
    nn.ReLU: _plain("relu"),
    nn.LeakyReLU: _plain("leaky_relu", "negative_slope"),
    nn.ELU: _plain("elu", "alpha"),
    nn.GELU: _plain("gelu", "approximate"),
    nn.SiLU: _plain("silu"),
    nn.Tanh: _plain("tanh"),
    nn.Sigmoid: _plain("sigmoid"),
    nn.Softplus: _plain("softplus", "beta", "threshold"),
    nn.Hardtanh: _plain("hardtanh", "min_val", "max_val"),
    nn.ReLU6: _plain("relu6"),
    nn.Mish: _plain("mish"),
    nn.Hardswish: _plain("hardswish"),
    nn.Softmax: _plain("softmax", "dim"),
    nn.LogSoftmax: _plain("log_softmax", "dim"),
    nn.Dropout: _plain("dropout", "p"),
    nn.Dropout1d: _plain("feature_dropout", "p"),
    nn.Dropout2d: _plain("feature_dropout", "p"),
    nn.AlphaDropout: _plain("alpha_dropout", "p"),
    **{getattr(nn, f"MaxPool{n}d"): _pool("max", n) for n in (1, 2)},
    **{getattr(nn, f"AvgPool{n}d"): _pool("avg", n) for n in (1, 2)},
    **{getattr(nn, f"AdaptiveAvgPool{n}d"): _adaptive("avg", n) for n in (1, 2)},
    **{getattr(nn, f"AdaptiveMaxPool{n}d"): _adaptive("max", n) for n in (1, 2)},
    QuantisedReLU: _plain("quantised_relu", "step", "bits"),
}
