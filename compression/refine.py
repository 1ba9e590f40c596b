"""Retraining what is left: surviving weights while they are floats, then shared values and biases.

Both follow the reference network (see `matching`). Pruning comes before the first and assignment
to codebooks before the second (Han, Mao and Dally 2016, trained quantisation: the gradient of a
shared value is the sum of those of its weights); neither undoes them.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .archive import Codebook, Quantised
from .layout import channels_last
from .matching import Matching
from .quantise import on_table, table_of

SURVIVOR_STEPS, SURVIVOR_RATE = 1_000, 1e-3
CODEBOOK_STEPS, CODEBOOK_RATE = 1_500, 2e-3


def retrain_survivors(
    net: nn.Module, kept: dict[str, np.ndarray], biases: dict[str, np.ndarray],
    matching: Matching, share: float = 1.0,
) -> dict[str, Tensor]:  # fmt: skip
    """Better values of the weights that survive, and of the biases.

    :param net: the pruned network, in eval mode; not changed.
    :param kept: for each weight tensor by name which weights survive, bool; the others become 0.
    :param biases: the biases by name.
    :param share: of the updates.
    :returns: weights and biases by name, a function of the arguments alone.
    """
    state = net.state_dict()
    masks = {name: channels_last(torch.from_numpy(mask)) for name, mask in kept.items()}
    free = {name: state[name].clone().requires_grad_() for name in (*kept, *biases)}

    def tensors() -> dict[str, Tensor]:
        return {name: v * masks[name] if name in masks else v for name, v in free.items()}

    matching.descend(
        net, tensors, list(free.values()), round(share * SURVIVOR_STEPS), SURVIVOR_RATE
    )
    return {name: value.detach() for name, value in tensors().items()}


def refine_codebooks(
    net: nn.Module,
    codes: dict[str, Quantised],
    biases: dict[str, np.ndarray],
    matching: Matching,
    share: float = 1.0,
) -> tuple[dict[str, Quantised], dict[str, np.ndarray]]:
    """The same shares on better codebooks, and better biases (not yet quantised).

    :param net: the network of the codes, in eval mode; not changed.
    :param codes: its quantised weights by name; those on a uniform grid stay as they are.
    :param biases: its biases by name, float64.
    :param share: of the updates.
    :returns: codes and biases of the same names and shapes, a function of the arguments alone.
    """
    shared = {
        name: table_of(tensor) for name, tensor in codes.items() if type(tensor.grid) is Codebook
    }
    places = {name: torch.from_numpy(symbols) for name, (symbols, _) in shared.items()}
    # Pruned weights stay pruned: zero is an entry that is not trained.
    nonzero = {name: torch.from_numpy(table != 0) for name, (_, table) in shared.items()}
    state = net.state_dict()
    tables = {name: _leaf(table, state[name].dtype) for name, (_, table) in shared.items()}
    moved = {name: _leaf(values, state[name].dtype) for name, values in biases.items()}

    def tensors() -> dict[str, Tensor]:
        shared = {name: (tables[name] * nonzero[name])[places[name]] for name in tables}
        return moved | {name: channels_last(weight) for name, weight in shared.items()}

    free = [*tables.values(), *moved.values()]
    if free:
        matching.descend(net, tensors, free, round(share * CODEBOOK_STEPS), CODEBOOK_RATE)
    better = {
        name: on_table(symbols, (tables[name] * nonzero[name]).detach().double().numpy())
        for name, (symbols, _) in shared.items()
    }
    return codes | better, {name: v.detach().double().numpy() for name, v in moved.items()}


def _leaf(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)
