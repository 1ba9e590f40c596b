"""The network to compress as a graph, and its posterior in the graph's terms."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, passed, take
from ..common.modules import copied
from ..graph import GraphNetwork, Untraceable, fold, parameters_of, trace
from ..posterior import Posterior, WeightPosterior
from .one_output import OneOutput

TOLERANCE = 1e-3  # of outputs against their scale
EXAMPLES = 64


def as_graph(
    net: nn.Module,
    posterior: Posterior,
    x: Inputs,
    settle: Callable[[nn.Module], nn.Module] = lambda means: means,
) -> tuple[nn.Module, Posterior, str | None]:
    """The network of posterior means as a graph, its posterior, and why there is no graph.

    BatchNorms are taken into the layers beside them: means and standard deviations of a weight are
    multiplied by the scale of its output (or input) channel, which is exact: it is a constant.
    A weight whose posterior has its own grid keeps its numbers, and so the BatchNorm beside it
    becomes a scale and a shift of its own.

    :param net: the trained network; not changed.
    :param x: inputs of at least one example, as `common.examples.arguments` gives them.
    :param settle: gives the traced network's BatchNorm statistics, before they are taken into
        layers: from the network of posterior means, one with statistics to use instead.
    :returns: where the network cannot be traced, a copy of it with the posterior means, the
        posterior as it came, and the reason; else the last is None.
    """
    means = _with_means(net, posterior)
    if isinstance(net, GraphNetwork):
        return means, posterior, None
    some = take(x, slice(EXAMPLES))
    try:
        traced = trace(means, some, fold=False)
    except Untraceable as error:
        return means, posterior, str(error)
    if not agree(means, traced, some):
        return means, posterior, "the graph gives other outputs: does the network draw noise?"
    traced = _with_buffers(traced, settle(means))
    gridded = [name for name, w in posterior.weights.items() if w.grid is not None]
    folded = fold(traced, whole=posterior.weights, unscaled=gridded)
    return folded, _scaled(posterior, traced, folded, gridded), None


def _with_means(net: nn.Module, posterior: Posterior) -> nn.Module:
    means = copied(net).cpu().eval().requires_grad_(False)
    state = means.state_dict()
    for name, weight in posterior.weights.items():
        if name in state:
            state[name].copy_(weight.loc)
    return means


def _with_buffers(traced: GraphNetwork, net: nn.Module) -> GraphNetwork:
    """The traced network with the buffers of another of the same names."""
    tensors, buffers = dict(parameters_of(traced)), dict(net.named_buffers())
    return traced.with_tensors({name: buffers.get(name, t) for name, t in tensors.items()})


def _scaled(
    posterior: Posterior, traced: GraphNetwork, folded: GraphNetwork, gridded: list[str]
) -> Posterior:
    """The posterior of the folded network's weights; those that nothing depends on are left out."""
    if not posterior.weights:
        return posterior
    before, after = dict(parameters_of(traced)), dict(parameters_of(folded))
    ones = {  # copies of all else, too: `fold` changes weights in place, and `folded` has them
        name: nn.Parameter(torch.ones_like(t), False) if name in posterior.weights else t.clone()
        for name, t in before.items()
    }
    scales = dict(
        parameters_of(fold(traced.with_tensors(ones), whole=posterior.weights, unscaled=gridded))
    )
    weights = {
        name: _times(weight, after[name], scales[name])
        for name, weight in posterior.weights.items()
        if name in after
    }
    return replace(posterior, weights=weights)


def _times(weight: WeightPosterior, loc: Tensor, scale: Tensor) -> WeightPosterior:
    if weight.grid is not None or bool((scale == 1).all()):
        return weight
    stddev = weight.stddev.to(scale.device) * scale.abs()
    return replace(weight, loc=loc.detach().clone(), stddev=stddev)


@torch.no_grad()
def agree(net: nn.Module, other: nn.Module, x: Inputs) -> bool:
    """Whether two networks give the same outputs for inputs x, but for rounding."""
    old, new = (passed(OneOutput(n), x) for n in (net, other))
    scale = float(old.abs().max()) or 1.0
    return old.shape == new.shape and float((old - new).abs().max()) <= TOLERANCE * scale
