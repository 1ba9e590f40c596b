"""What each parameter and buffer of a graph is: a weight, a vector, a mask, or something else."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .evaluate import parameters_behind
from .ir import PARAMETER, Node, Ref
from .network import GraphNetwork, parameters_of
from .table import OPERATORS

WEIGHT, VECTOR, MASK, RAW = "weight", "vector", "mask", "raw"
_DIVISORS = {
    "div": ("other",), "floor_divide": ("other",), "reciprocal": ("input",), "rsqrt": ("input",)
}  # fmt: skip


def roles(network: GraphNetwork) -> dict[str, str]:
    """By name, in the order of the graph.

    WEIGHT: a matrix or kernel of finite floating-point numbers (at least two axes larger than 1, or
    the weight of a contraction): it gets a prior and is pruned and quantized. VECTOR: any other
    finite floating-point parameter, a bias or the scale of a norm, say: quantized only. MASK: the
    choice of a `pick`. RAW: integers, flags, what is not finite, vectors that are buffers, and all
    numbers that the network divides by: stored bit by bit. Of standard deviations of features of
    very different sizes, say, the smallest would become 0 on a common grid.
    """
    divisors = _divisors(network)
    contracted, picked = set(), set()
    for node in network.graph.operators:
        for name in OPERATORS[node.operator].weights:
            contracted.update(ref.node for ref in _refs(node, name))
        if node.operator == "pick":
            picked.update(ref.node for ref in _refs(node, "kept"))
    nodes = {node.name: node for node in network.graph.parameters}
    return {
        name: RAW
        if name in divisors and tensor.numel() > 1 and nodes[name] not in contracted
        else _role(tensor, nodes[name] in contracted, nodes[name] in picked)
        for name, tensor in parameters_of(network)
    }


def _divisors(network: GraphNetwork) -> set[str]:
    """The parameters by which a network divides, and vectors from which it computes a divisor.

    Matrices behind a divisor are those of weight normalization: a norm is no divisor of features.
    """
    behind = parameters_behind(network.graph)
    wide = {name for name, tensor in parameters_of(network) if _is_wide(tensor)}
    found: set[str] = set()
    for node in network.graph.operators:
        for name in _DIVISORS.get(node.operator, ()):
            for ref in _refs(node, name):
                direct = ref.node.operator == PARAMETER
                found |= {ref.node.name} if direct else behind.get(ref.node, set()) - wide
    return found


def weight_names(network: GraphNetwork) -> list[str]:
    """The trainable weights, in the order of the graph: those that get a prior."""
    found = dict(parameters_of(network))
    return [
        name
        for name, role in roles(network).items()
        if role == WEIGHT and found[name].requires_grad
    ]


def fan_in(network: GraphNetwork, name: str) -> int:
    """How many terms, at most, an output sums that a weight makes; 1 for an embedding."""
    weight = next(node for node in network.graph.parameters if node.name == name)
    shape = dict(parameters_of(network))[name].shape
    counts = [_terms(reader, shape) for reader in network.graph.users()[weight]]
    return max(counts, default=math.prod(shape[1:]))


def _terms(reader: Node, shape: torch.Size) -> int:
    if reader.operator == "embedding":
        return 1  # a row is looked up, not summed
    if reader.operator.startswith("conv_transpose"):
        inputs = shape[0] // reader.arguments["groups"] * math.prod(shape[2:])
        return max(1, inputs // math.prod(reader.arguments["stride"]))
    return math.prod(shape[1:])


def _refs(node: Node, argument: str) -> list[Ref]:
    value = node.arguments[argument]
    if isinstance(value, tuple):
        return [part for part in value if isinstance(part, Ref)]
    return [value] if isinstance(value, Ref) else []


def _role(tensor: Tensor, contracted: bool, picked: bool) -> str:
    if picked:
        return MASK
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        return RAW
    if _is_wide(tensor) or (contracted and tensor.dim() > 1):
        return WEIGHT
    return VECTOR if isinstance(tensor, nn.Parameter) else RAW


def _is_wide(tensor: Tensor) -> bool:
    return sum(size > 1 for size in tensor.shape) > 1
