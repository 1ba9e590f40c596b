"""What candidates are held against: the unpruned network of the posterior means."""

import copy

import numpy as np
from torch import Tensor, nn

from ..posterior import Posterior, WeightPosterior
from .architecture import describe
from .masks import check_posterior
from .scores import check_inputs
from .search import Trial
from .weights import Weights, grid_of, usable_stddev


def reference_of(
    net: nn.Module,
    posterior: Posterior,
    x: Tensor,
    y: Tensor,
    likelihood: str,
    margin_nll: float,
    margin_error: float,
    training: Tensor | None,
) -> Trial:
    """The network of posterior means, and its weight tensors, ready for trials.

    The parameters are those of `compress`. `net` is not changed.

    :raises ValueError: the posterior or the data do not fit the network.
    """
    means = copy.deepcopy(net).cpu().eval().requires_grad_(False)
    state = means.state_dict()
    check_posterior(posterior, state)
    for name, weight in posterior.weights.items():
        state[name].copy_(weight.loc)
    architecture = describe(means, weights=extra_weights(means, posterior))
    weights, exact = {}, set()
    for spec in architecture.tensors():
        if spec.role != "weight":
            continue
        values = state[spec.name].double().numpy().copy()
        if not values.size:
            raise ValueError(
                f"the layer of {spec.name!r} has no units (shape {values.shape}): "
                "remove it from the network, which is a constant behind it"
            )
        if spec.name in posterior.weights:
            stddev = posterior.weights[spec.name].stddev.detach().double().cpu().numpy()
        else:
            stddev = 0.0 * values
        if not stddev.any():
            exact.add(spec.name)
        weights[spec.name] = Weights(
            values, usable_stddev(stddev, values), values == values,
            *_own_grid(values, posterior.weights.get(spec.name)),
        )  # fmt: skip
    if not weights:
        raise ValueError("the network has no Linear, Conv1d or Conv2d layer to compress")
    if training is not None:
        training = check_inputs(training, x)
    return Trial(
        means, architecture, weights, frozenset(exact), x, y, likelihood,
        margin_nll, margin_error, training,
    )  # fmt: skip


def _own_grid(values: np.ndarray, weight: WeightPosterior | None) -> tuple:
    """Symbols, table and step of what the posterior has learned; empty if it has not."""
    grid = weight.grid if weight is not None else None
    if grid is None or grid.codebook is None:
        return ()
    codes = None if grid.codes is None else grid.codes.cpu().numpy()
    step = None if grid.step is None or grid.step.dim() else grid.step.item()
    return *grid_of(values, grid.codebook.detach().double().cpu().numpy(), codes), step


def extra_weights(net: nn.Module, posterior: Posterior) -> list[str]:
    """The posterior's tensors that are the weights of no Linear or Conv layer, but matrices."""
    specs = {spec.name: spec for spec in describe(net).tensors()}
    known = [specs[name] for name in posterior.weights if name in specs]
    return [spec.name for spec in known if spec.role == "raw" and len(spec.shape) > 1]
