"""How much a network's outputs change when a layer's outputs do: the output Fisher information.

If the outputs y of a layer move by d, the predictions move by

    KL(p || p') = 1/2 E (sum over positions and units of g d)^2 + ...,

where g is the gradient of log p(label | x) by y, for labels drawn from the network's own
predictions. Errors at different positions and units are taken as independent of each other and of
g, so that the KL is 1/2 s E (sum of d^2) with s the mean of g^2 over examples, positions and units.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from ..common.examples import Inputs, count, take, tensors
from ..common.modes import gradients
from ..graph import GraphNetwork, Node, Ref
from ..graph.evaluate import computed
from ..graph.moments import inputs_of, walk
from ..graph.products import addmm, bilinear, convolution, dense, transposed_convolution
from ..graph.table import OPERATORS
from .scores import chunks

BATCH = 100  # most examples whose feature maps and gradients are in memory at once
LARGEST = 1 << 26  # numbers in their feature maps, about
LEAST = 1e-4  # of the largest sensitivity: what a layer that seems to matter less is given
LEAST_OF_A_UNIT = 0.03  # of the mean of its layer's: the same for one unit


@gradients()
def sensitivities(
    network: GraphNetwork,
    x: Inputs,
    nodes: Collection[Node],
    likelihood: str,
    axis: int = -1,
    seed: int = 0,
) -> dict[Node, Tensor]:
    """For each node s of the units of its (first) result; see the module's docstring.

    :param network: a traced network in eval mode; not changed.
    :param x: inputs, as `common.examples.arguments` gives them.
    :param likelihood: "categorical": the outputs are logits. "bernoulli": they are logits.
        "normal": means, in units of the standard deviation of each tensor of outputs.
    :param axis: that of the classes.
    :param seed: of the labels that are drawn.
    :returns: nats per squared unit of an output, by node: float64 of shape (units,), or (1,) where
        the result has no axis of units. > 0 for all of them.
    """
    generator = torch.Generator().manual_seed(seed)
    total = {node: torch.zeros(1, dtype=torch.float64) for node in nodes}
    for part in chunks(x, batch_of(network, x)):
        values, outputs = _run(network, part, nodes)
        slopes = [drawn(output, likelihood, axis, generator) for output in outputs]
        found = torch.autograd.grad(outputs, list(values.values()), slopes, allow_unused=True)
        for node, slope in zip(values, found, strict=True):
            if slope is not None:
                share = count(part) / count(x)
                total[node] = total[node] + share * by_unit(slope, unit_axis(node))
    return floored(total)


@torch.no_grad()
def batch_of(network: GraphNetwork, x: Inputs) -> int:
    """How many examples fit into memory at once, `BATCH` at most."""
    numbers = 0

    def compute(node: Node, known: Any, device: torch.device) -> Any:
        nonlocal numbers
        result = computed(node, known, device)
        numbers += sum(part.numel() for part in tensors(result))
        return result

    some = take(x, slice(2))
    ends = {ref.node for ref in network.graph.output_refs()}
    for _ in walk(network, inputs_of(network, some)[0], ends, compute):
        pass
    return min(max(LARGEST * count(some) // max(numbers, 1), 1), BATCH)


def floored(total: dict[Any, Tensor]) -> dict[Any, Tensor]:
    """Sensitivities without those that are too small to be true; 1 where there are none at all."""
    means = {key: float(found.mean()) for key, found in total.items()}
    least = LEAST * max(means.values(), default=0.0)
    return {
        key: found.clamp(min=max(LEAST_OF_A_UNIT * means[key], least)) if least else found + 1.0
        for key, found in total.items()
    }


def unit_axis(node: Node) -> int | None:
    """The axis of a result's units; None where there is none, or it is no single product."""
    row = OPERATORS[node.operator]
    if row.products in (dense, bilinear, addmm):
        return -1
    return 1 if row.products in (convolution, transposed_convolution) else None


def by_unit(slope: Tensor, axis: int | None) -> Tensor:
    """Mean squares along the axis of the units."""
    square = slope.double().square()
    if axis is None:
        return square.mean().view(1)
    return square.movedim(axis, 0).flatten(1).mean(1)


def _run(
    network: GraphNetwork, x: Inputs, nodes: Collection[Node]
) -> tuple[dict[Node, Tensor], list[Tensor]]:
    """The first results of nodes, and the network's outputs as functions of them."""
    values: dict[Node, Tensor] = {}

    def compute(node: Node, known: Any, device: torch.device) -> Any:
        result = computed(node, known, device)
        if node in nodes:
            first = result[0] if isinstance(result, tuple | list) else result
            values[node] = first if first.requires_grad else first.requires_grad_()
        return result

    outputs: dict[Ref, Tensor] = {}
    wanted = {ref.node for ref in network.graph.output_refs()}
    inputs, _ = inputs_of(network, x)
    for node, value in walk(network, inputs, wanted, compute):
        outputs |= {ref: value(ref) for ref in network.graph.output_refs() if ref.node is node}
    return values, [output for output in outputs.values() if output.requires_grad]


def drawn(output: Tensor, likelihood: str, axis: int, generator: torch.Generator) -> Tensor:
    """A random gradient of log p by the outputs: mean 0, covariance the Fisher information."""
    noise = torch.randn(output.shape, generator=generator).to(output.dtype)
    if likelihood == "bernoulli":
        p = output.detach().sigmoid()
        return noise * (p * (1 - p)).sqrt()
    if likelihood == "normal":
        return noise / (output.detach().std() + 1e-12)
    p = output.detach().softmax(axis)  # the covariance diag(p) - p p^T
    noise = noise * p.sqrt()
    return noise - p * noise.sum(axis, keepdim=True)
