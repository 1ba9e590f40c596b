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

from ..common.examples import Inputs, count
from ..common.modes import gradients
from ..graph import GraphNetwork, Node, Ref
from ..graph.evaluate import computed
from ..graph.moments import inputs_of, walk
from .scores import chunks

BATCH = 100  # examples whose feature maps and gradients are in memory at once
LEAST = 1e-4  # of the largest sensitivity: what a layer that seems to matter less is given


@gradients()
def sensitivities(
    network: GraphNetwork,
    x: Inputs,
    nodes: Collection[Node],
    likelihood: str,
    axis: int = -1,
    seed: int = 0,
) -> dict[Node, float]:
    """For each node s of its (first) result; see the module's docstring.

    :param network: a traced network in eval mode; not changed.
    :param x: inputs, as `common.examples.arguments` gives them.
    :param likelihood: "categorical": the outputs are logits. "bernoulli": they are logits.
        "normal": means, in units of the standard deviation of each tensor of outputs.
    :param axis: that of the classes.
    :param seed: of the labels that are drawn.
    :returns: nats per squared unit of an output, by node: > 0 for all of them.
    """
    generator = torch.Generator().manual_seed(seed)
    total = dict.fromkeys(nodes, 0.0)
    for part in chunks(x, BATCH):
        values, outputs = _run(network, part, nodes)
        slopes = [drawn(output, likelihood, axis, generator) for output in outputs]
        found = torch.autograd.grad(outputs, list(values.values()), slopes, allow_unused=True)
        for node, slope in zip(values, found, strict=True):
            if slope is not None:
                total[node] += float(slope.double().square().mean()) * count(part) / count(x)
    least = LEAST * max(total.values(), default=0.0)
    return {node: max(value, least) or 1.0 for node, value in total.items()}


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
