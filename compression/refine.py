"""Codebook fine-tuning: shared values and biases moved to where the training data want them.

Han, Mao and Dally 2016 (trained quantisation): which weights share a value stays as it is, and the
gradient of a shared value is the sum of those of its weights. The network is small by then and has
a few hundred free numbers left, so a few passes over the training data do, and overfit little.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .archive import Codebook, Quantised
from .quantise import on_table, table_of
from .scores import score

STEPS, BATCH, RATE = 1_500, 128, 1e-3  # of Adam, whose rate falls to 0


def refine(
    net: nn.Module,
    codes: dict[str, Quantised],
    biases: dict[str, np.ndarray],
    training: tuple[Tensor, Tensor],
    likelihood: str,
) -> tuple[dict[str, Quantised], dict[str, np.ndarray]]:
    """The same shares on better codebooks, and better biases (not yet quantised).

    :param net: the network of the codes, in eval mode; not changed.
    :param codes: its quantised weights by name; those on a uniform grid stay as they are.
    :param biases: its biases by name, float64.
    :param training: inputs and labels, on the CPU.
    :returns: codes and biases of the same names and shapes, a function of the arguments alone.
    """
    shared = {
        name: table_of(tensor) for name, tensor in codes.items() if type(tensor.grid) is Codebook
    }
    places = {name: torch.from_numpy(symbols) for name, (symbols, _) in shared.items()}
    # Pruned weights stay pruned: zero is an entry that is not trained.
    nonzero = {name: torch.from_numpy(table != 0) for name, (_, table) in shared.items()}
    tables = {name: _leaf(table) for name, (_, table) in shared.items()}
    moved = {name: _leaf(values) for name, values in biases.items()}

    def tensors() -> dict[str, Tensor]:
        return moved | {name: (tables[name] * nonzero[name])[places[name]] for name in tables}

    _descend(net, tensors, [*tables.values(), *moved.values()], training, likelihood)
    better = {
        name: on_table(symbols, (tables[name] * nonzero[name]).detach().double().numpy())
        for name, (symbols, _) in shared.items()
    }
    return codes | better, {name: v.detach().double().numpy() for name, v in moved.items()}


def _leaf(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def _descend(net: nn.Module, tensors, free: list[Tensor], training, likelihood: str) -> None:
    """Adam on the mean NLL of mini-batches, `free` in place; `tensors()` go into the network."""
    x, y = training
    optimizer = torch.optim.Adam(free, lr=RATE)
    generator = torch.Generator().manual_seed(0)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(STEPS):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(x), generator=generator)])
        chosen, order = order[:BATCH], order[BATCH:]
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        output = torch.func.functional_call(net, tensors(), (x[chosen],))
        optimizer.zero_grad()
        score(output, y[chosen], likelihood)[0].mean().backward()
        optimizer.step()
