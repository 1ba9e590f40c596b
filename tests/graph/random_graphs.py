"""Random graphs of layers, built node by node and computed on the way."""

from collections.abc import Callable

import torch
from bitsback.graph import Graph, GraphNetwork, Node, Ref
from bitsback.graph.ir import INPUT, PARAMETER, TensorType
from bitsback.graph.table import OPERATORS
from torch import Tensor, nn

BATCH = 3


class Builder:
    """A graph that grows: each value is known, so that its shape is.

    :param pick: a whole number of so many, drawn from somewhere.
    """

    def __init__(self, pick: Callable[[int], int], seed: int) -> None:
        self.pick = pick
        self.random = torch.Generator().manual_seed(seed)
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.values: dict[Ref, Tensor] = {}
        self.inputs: list[Tensor] = []

    def input(self, *shape: int) -> Ref:
        ref = Ref(Node(INPUT, name=str(len(self.inputs))))
        self.nodes.append(ref.node)
        self.inputs.append(self._randn(BATCH, *shape))
        self.values[ref] = self.inputs[-1]
        return ref

    def _randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random, dtype=torch.float64)

    def param(self, *shape: int, buffer: bool = False, positive: bool = False) -> Ref:
        """A parameter with zeros along some of its first two axes."""
        value = self._randn(*shape) / max(1, value_size(shape[1:])) ** 0.5
        for axis in range(min(2, len(shape))):
            if self.pick(3) == 0:
                zero = torch.rand(shape[axis], generator=self.random) < (0.4, 0.8)[self.pick(2)]
                value.index_fill_(axis, zero.nonzero()[:, 0], 0)
        value = value.abs() + 0.1 if positive else value
        name = f"p{len(self.tensors)}.weight"
        ref = Ref(Node(PARAMETER, name=name))
        self.nodes.append(ref.node)
        self.tensors[name] = value if buffer else nn.Parameter(value)
        self.values[ref] = value
        return ref

    def bias(self, size: int) -> Ref | None:
        kind = self.pick(4)
        if kind == 0:
            return None
        ref = self.param(size)
        if kind == 1:
            self.values[ref].detach().zero_()
        return ref

    def add(self, operator: str, **arguments) -> Ref:
        node = Node(operator, OPERATORS[operator].bind(arguments))
        self.nodes.append(node)

        def get(value):
            if isinstance(value, Ref):
                return self.values[value].detach()
            return tuple(map(get, value)) if isinstance(value, tuple) else value

        result = OPERATORS[operator].call(*map(get, node.arguments.values()))
        parts = result if isinstance(result, tuple | list) else (result,)
        for index, part in enumerate(parts):
            self.values[Ref(node, index)] = part
        return Ref(node)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        return tuple(self.values[ref].shape)

    def network(self, *outputs: Ref) -> GraphNetwork:
        types = tuple(TensorType((None, *x.shape[1:]), "float64") for x in self.inputs)
        signature = (tuple(range(len(self.inputs))), {})
        graph = Graph(self.nodes, types, signature, tuple(outputs))
        graph.prune()
        return GraphNetwork(graph, self.tensors)


def value_size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


# --- Images: (batch, channels, height, width) ---
def conv(b: Builder, x: Ref) -> Ref:
    channels = b.shape(x)[1]
    groups = (1, 1, 2)[b.pick(3)] if channels % 2 == 0 else 1
    out = 2 * (1 + b.pick(4))
    kernel = 1 + 2 * b.pick(2)
    kernel = kernel if min(b.shape(x)[2:]) >= kernel else 1
    padding = b.pick(2) * (kernel // 2)
    weight = b.param(out, channels // groups, kernel, kernel)
    return b.add(
        "conv2d", input=x, weight=weight, bias=b.bias(out), padding=(padding,), groups=groups,
        stride=(1 + b.pick(2),),
    )  # fmt: skip


def depthwise(b: Builder, x: Ref) -> Ref:
    channels, times = b.shape(x)[1], 1 + b.pick(2)
    weight = b.param(channels * times, 1, 3, 3)
    bias = b.bias(channels * times)
    return b.add("conv2d", input=x, weight=weight, bias=bias, padding=(1,), groups=channels)


def transposed(b: Builder, x: Ref) -> Ref:
    channels = b.shape(x)[1]
    groups = (1, 1, 2)[b.pick(3)] if channels % 2 == 0 else 1
    out = 1 + b.pick(3)
    weight = b.param(channels, out, 2, 2)
    bias = b.bias(out * groups)
    return b.add("conv_transpose2d", input=x, weight=weight, bias=bias, groups=groups)


def norm(b: Builder, x: Ref) -> Ref:
    channels = b.shape(x)[1]
    if b.pick(3) == 0 and len(b.shape(x)) > 2:
        groups = 2 if channels % 2 == 0 else 1
        return b.add(
            "group_norm",
            input=x,
            num_groups=groups,
            weight=b.param(channels),
            bias=b.param(channels),
        )
    if b.pick(2):
        return b.add("affine", input=x, weight=b.param(channels), bias=b.param(channels))
    mean = b.param(channels, buffer=True)
    var = b.param(channels, buffer=True, positive=True)
    scale = b.param(channels) if b.pick(2) else None
    shift = b.param(channels) if b.pick(2) else None
    return b.add(
        "batch_norm", input=x, weight=scale, bias=shift, running_mean=mean, running_var=var
    )


def activation(b: Builder, x: Ref) -> Ref:
    names = ("relu", "tanh", "sigmoid", "gelu", "hardtanh", "leaky_relu", "cos", "sign")
    kind = b.pick(len(names) + 4)
    if kind < len(names):
        return b.add(names[kind], input=x)
    if kind == len(names) and len(b.shape(x)) > 1:
        return b.add("prelu", input=x, weight=b.param(b.shape(x)[1]))
    if kind == len(names) + 1:
        return b.add("clamp", input=x, min=0.25)
    if kind == len(names) + 2:
        return b.add("dropout", input=x)
    return b.add("add", input=x, other=0.5)


def scale(b: Builder, x: Ref) -> Ref:
    weight = b.param(b.shape(x)[1], *[1] * (len(b.shape(x)) - 2))
    return b.add(("mul", "add", "sub")[b.pick(3)], input=x, other=weight)


def pool(b: Builder, x: Ref) -> Ref:
    side = min(b.shape(x)[2:])
    if side < 2:
        return x
    name = ("max_pool2d", "avg_pool2d")[b.pick(2)]
    extra = {"count_include_pad": bool(b.pick(2))} if name == "avg_pool2d" else {}
    return b.add(name, input=x, kernel_size=(2,), stride=(1,), padding=(b.pick(2),), **extra)


def squeeze_excite(b: Builder, x: Ref) -> Ref:
    channels = b.shape(x)[1]
    y = b.add("mean", input=x, dim=(2, 3), keepdim=True)
    y = b.add("conv2d", input=y, weight=b.param(3, channels, 1, 1), bias=b.bias(3))
    y = b.add("relu", input=y)
    y = b.add("conv2d", input=y, weight=b.param(channels, 3, 1, 1), bias=b.bias(channels))
    return b.add("mul", input=x, other=b.add("sigmoid", input=y))


def shuffle(b: Builder, x: Ref) -> Ref:
    _, c, h, w = b.shape(x)
    if c % 2:
        return x
    x = b.add("reshape", input=x, shape=(-1, 2, c // 2, h, w))
    x = b.add("transpose", input=x, dim0=1, dim1=2)
    return b.add("reshape", input=x, shape=(-1, c, h, w))


def cut(b: Builder, x: Ref) -> Ref:
    channels = b.shape(x)[1]
    if channels < 2:
        return x
    kind = b.pick(4)
    if kind == 0:
        return b.add("slice", input=x, dim=1, start=b.pick(channels - 1), end=channels)
    if kind == 1:
        first = 1 + b.pick(channels - 1)
        node = b.add("split", input=x, sizes=(first, channels - first), dim=1).node
        return Ref(node, b.pick(2))
    if kind == 2:
        rank = len(b.shape(x))
        ends = (b.pick(3), 1 + b.pick(2))
        value = float(b.pick(2))
        return b.add("pad", input=x, pad=(*[0, 0] * (rank - 2), *ends), value=value)
    node = b.add("split", input=x, sizes=(1, channels - 1), dim=1).node
    return b.add("cat", tensors=(Ref(node, 1), Ref(node, 0)), dim=1)


def same_as(b: Builder, x: Ref, others: list[Ref]) -> Ref:
    """Something with another value of the same shape, or beside one of the same size."""
    equal = [o for o in others if b.shape(o) == b.shape(x)]
    if equal and b.pick(2):
        name = ("add", "mul", "sub", "maximum")[b.pick(4)]
        return b.add(name, input=x, other=equal[b.pick(len(equal))])
    alike = [o for o in others if b.shape(o)[2:] == b.shape(x)[2:] and len(b.shape(o)) > 1]
    if not alike:
        return x
    other = alike[b.pick(len(alike))]
    return b.add("cat", tensors=(x, other), dim=1)


IMAGE_LAYERS = (conv, conv, depthwise, transposed, norm, activation, activation, scale, pool)
IMAGE_LAYERS += (squeeze_excite, shuffle, cut)


# --- Vectors and tokens ---
def linear(b: Builder, x: Ref) -> Ref:
    out = 2 * (1 + b.pick(4))
    size = b.shape(x)[-1]
    kind = b.pick(4)
    if kind == 0:
        return b.add("matmul", input=x, other=b.param(size, out))
    return b.add("linear", input=x, weight=b.param(out, size), bias=b.bias(out))


def layer_norm(b: Builder, x: Ref) -> Ref:
    size = b.shape(x)[-1]
    return b.add("layer_norm", input=x, normalized_shape=(size,), weight=b.param(size))


def residual(b: Builder, x: Ref) -> Ref:
    size = b.shape(x)[-1]
    y = activation(b, linear(b, x))
    y = b.add("linear", input=y, weight=b.param(size, b.shape(y)[-1]), bias=b.bias(size))
    return b.add("add", input=x, other=y)


def attention(b: Builder, x: Ref) -> Ref:
    """Self-attention of two heads, with fused or separate projections."""
    _, tokens, size = b.shape(x)
    heads, each = 2, 3
    width = heads * each
    if b.pick(2):
        qkv = b.add("linear", input=x, weight=b.param(3 * width, size), bias=b.bias(3 * width))
        qkv = b.add("reshape", input=qkv, shape=(-1, tokens, 3, heads, each))
        qkv = b.add("permute", input=qkv, dims=(2, 0, 3, 1, 4))
        node = b.add("unbind", input=qkv).node
        q, k, v = (Ref(node, i) for i in range(3))
    else:
        parts = [
            b.add("linear", input=x, weight=b.param(width, size), bias=b.bias(width))
            for _ in range(3)
        ]
        parts = [b.add("reshape", input=p, shape=(-1, tokens, heads, each)) for p in parts]
        q, k, v = (b.add("transpose", input=p, dim0=1, dim1=2) for p in parts)
    if b.pick(2):
        y = b.add("attention", query=q, key=k, value=v, is_causal=bool(b.pick(2)))
    else:
        scores = b.add("matmul", input=q, other=b.add("transpose", input=k, dim0=2, dim1=3))
        y = b.add("matmul", input=b.add("softmax", input=scores, dim=-1), other=v)
    y = b.add("transpose", input=y, dim0=1, dim1=2)
    y = b.add("reshape", input=y, shape=(-1, tokens, width))
    y = b.add("linear", input=y, weight=b.param(size, width), bias=b.bias(size))
    return b.add("add", input=x, other=y) if b.pick(2) else y


def recurrent(b: Builder, x: Ref) -> Ref:
    name, gates = (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1))[b.pick(4)]
    size, hidden = b.shape(x)[-1], 4
    params = [b.param(gates * hidden, size), b.param(gates * hidden, hidden)]
    biases = bool(b.pick(2))
    if biases:
        params += [b.param(gates * hidden) for _ in range(2)]
    for ref in params:  # whole units without input
        if b.pick(2):
            unit = b.pick(hidden)
            b.values[ref].detach()[unit::hidden] = 0
    node = Node("full", {"size": (1, BATCH, hidden), "value": 0, "dtype": "float64"})
    return b.add(
        name, input=x, hx=_states(b, node, name), params=tuple(params), has_biases=biases,
        num_layers=1, batch_first=True,
    )  # fmt: skip


def _states(b: Builder, node: Node, name: str) -> Ref | tuple[Ref, Ref]:
    first = next(r for r in b.values if r.node.operator == INPUT)
    size = b_size(b, first)
    node.arguments["size"] = (1, size, 4)
    node.arguments = OPERATORS["full"].bind(node.arguments)
    b.nodes.append(node)
    ref = Ref(node)
    b.values[ref] = torch.zeros(1, BATCH, 4, dtype=torch.float64)
    return (ref, ref) if name == "lstm" else ref


def b_size(b: Builder, source: Ref) -> Ref:
    node = Node("size", {"input": source, "dim": 0})
    b.nodes.append(node)
    return Ref(node)


TOKEN_LAYERS = (linear, attention, residual, layer_norm, activation, activation, recurrent)
VECTOR_LAYERS = (linear, linear, residual, norm, activation, scale, cut)


def image_network(b: Builder, depth: int) -> GraphNetwork:
    x = conv(b, b.input(2, 5, 5))
    seen = [x]
    for _ in range(depth):
        layer = b.pick(len(IMAGE_LAYERS) + 4)
        x = IMAGE_LAYERS[layer](b, x) if layer < len(IMAGE_LAYERS) else same_as(b, x, seen)
        seen.append(x)
    x = b.add("mean", input=x, dim=(2, 3)) if b.pick(2) else b.add("flatten", input=x)
    return _head(b, x, seen)


def vector_network(b: Builder, depth: int) -> GraphNetwork:
    x = linear(b, b.input(5))
    seen = [x]
    for _ in range(depth):
        layer = b.pick(len(VECTOR_LAYERS) + 3)
        x = VECTOR_LAYERS[layer](b, x) if layer < len(VECTOR_LAYERS) else same_as(b, x, seen)
        seen.append(x)
    return _head(b, x, seen)


def token_network(b: Builder, depth: int) -> GraphNetwork:
    x = linear(b, b.input(4, 5))
    for _ in range(depth):
        x = TOKEN_LAYERS[b.pick(len(TOKEN_LAYERS))](b, x)
    return _head(b, x, [x])


def _head(b: Builder, x: Ref, seen: list[Ref]) -> GraphNetwork:
    y = b.add("linear", input=x, weight=b.param(3, b.shape(x)[-1]), bias=b.bias(3))
    return b.network(y, seen[b.pick(len(seen))]) if b.pick(4) == 0 else b.network(y)


NETWORKS = (image_network, vector_network, token_network)
