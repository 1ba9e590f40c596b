"""The rewrites of `rewrites` for a network that is a graph: edits of its nodes."""

from dataclasses import replace

import torch
from torch import Tensor

from ..graph import GraphNetwork, factorise, parameters_of, quantise_relus
from ..posterior import Factorisation, Grid, Posterior, WeightPosterior


def rewrite_graph(network: GraphNetwork, posterior: Posterior) -> tuple[GraphNetwork, Posterior]:
    """The network with factorised weights, and the posterior of its weights.

    :raises ValueError: as `graph.factorise`.
    """
    if not posterior.rewrites:
        return network, posterior
    factors = {name: (f.left, f.right) for name, f in posterior.rewrites.items()}
    biases = _biases(network)
    network, names = factorise(network, factors)
    tensors, weights = dict(parameters_of(network)), dict(posterior.weights)
    for name, (right, left, bias) in names.items():
        weights.pop(name, None)
        weights[right] = point(tensors[right], posterior.rewrites[name])
        weights[left] = point(tensors[left])
        if biases[name] in weights and bias is not None:
            weights[bias] = weights.pop(biases[name])
    return network, replace(posterior, weights=weights, rewrites={})


def quantise_graph(network: GraphNetwork, grids: dict[str, Grid]) -> GraphNetwork:
    """The network with ReLUs that quantise their outputs, by the names of `graph.relu_names`.

    :raises ValueError: there is no such ReLU.
    """
    try:
        return quantise_relus(network, {k: (g.step.item(), int(g.bits)) for k, g in grids.items()})
    except ValueError as error:
        raise ValueError(f"activations: {error}") from None


def point(weight: Tensor, factors: Factorisation | None = None) -> WeightPosterior:
    """The posterior of a weight that has no uncertainty."""
    grid = factors.grid if factors else None
    if grid is not None and grid.codes is not None:
        grid = replace(grid, codes=grid.codes.reshape(weight.shape))
    loc = weight.detach().clone()
    return WeightPosterior(loc, torch.zeros_like(loc), torch.ones(()), grid=grid)


def _biases(network: GraphNetwork) -> dict[str, str | None]:
    """The name of the bias beside each weight."""
    found: dict[str, str | None] = {}
    for node in network.graph.operators:
        weight, bias = node.arguments.get("weight"), node.arguments.get("bias")
        if weight is not None:
            found[weight.node.name] = None if bias is None else bias.node.name
    return found
