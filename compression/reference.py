"""What candidates are held against: the unpruned network of the posterior means."""

import numpy as np
from torch import Tensor, nn

from ..common.examples import Inputs, each, passed, take
from ..common.heads import check_output
from ..common.modes import gradients
from ..common.modules import extra_states, float_numbers, shared_names
from ..posterior import Posterior, WeightPosterior
from .describe import check_dtype, describe
from .search import Trial
from .settings import MOST_EFFORT
from .weights import Weights, grid_of, usable_stddev


def reference_of(
    means: nn.Module,
    posterior: Posterior,
    x: Inputs,
    y: Tensor,
    likelihood: str,
    margin_nll: float,
    margin_error: float,
    training: Inputs | None,
    effort: int = MOST_EFFORT,
) -> Trial:
    """The network of posterior means, and its weight tensors, ready for trials.

    :param means: as `traced.as_graph` gives it; the other parameters are those of `compress`.
    :raises ValueError: the network has nothing to compress, or the data do not fit it.
    """
    state = means.state_dict()
    architecture = describe(means, weights=extra_weights(means, posterior))
    weights, exact = {}, set()
    for spec in architecture.tensors():
        if spec.role != "weight":
            continue
        values = state[spec.name].double().numpy().copy()
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
        raise ValueError("the network has no matrix or kernel to compress")
    return Trial(
        means, architecture, weights, frozenset(exact), x, y, likelihood,
        margin_nll, margin_error, training, effort=effort,
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
    """The posterior's matrices and kernels that are the weights of no Linear or Conv layer.

    All names of each: a weight may belong to a Linear layer under one and not under another.
    """
    state = dict(net.state_dict(keep_vars=True))
    shared = shared_names({k: v for k, v in state.items() if isinstance(v, Tensor)})
    names = [
        all_of for all_of in shared.values() if not posterior.weights.keys().isdisjoint(all_of)
    ]
    modules = dict(net.named_modules(remove_duplicate=False))
    return [
        name
        for name in (name for all_of in names for name in all_of)
        if state[name].dim() > 1 and not _is_layers_weight(modules, name)
    ]


def latent_share(net: nn.Module, posterior: Posterior) -> float:
    """The fraction of a network's floating-point numbers that the posterior is about."""
    state = dict(net.state_dict(keep_vars=True))
    shared = shared_names({k: v for k, v in state.items() if isinstance(v, Tensor)})
    total = float_numbers(state[name] for name in shared)
    return float_numbers(w.loc for w in posterior.weights.values()) / total


def check_head(net: nn.Module, x: Inputs, likelihood: str) -> None:
    """Refuse a network that ends in probabilities where the likelihood takes logits.

    :param net: in eval mode, with parameters that require gradients.
    :raises ValueError: names the operation.
    """

    def fresh(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_(tensor.is_floating_point())

    with gradients():
        check_output(passed(net, each(take(x, slice(2)), fresh)), likelihood)


def check_tensors(net: nn.Module) -> None:
    """Refuse what no file can hold, before any work is done.

    :raises ValueError: names an entry without numbers, one that is no tensor, or one of a dtype
        that no file holds.
    """
    for name in extra_states(net):
        raise ValueError(
            f"{name!r} is extra state of a module (get_extra_state), and no tensor: a file cannot "
            "hold it; remove the method, or keep its tensors as buffers"
        )
    for name, value in net.state_dict().items():
        check_dtype(name, value)
        if not value.numel() and value.dim() > 1:
            raise ValueError(
                f"{name!r} has shape {tuple(value.shape)} and holds no numbers: remove the layer"
            )


def _is_layers_weight(modules: dict[str, nn.Module], name: str) -> bool:
    path, _, leaf = name.rpartition(".")
    return isinstance(modules.get(path), nn.Linear | nn.Conv1d | nn.Conv2d) and leaf == "weight"
