"""Biases and codebooks on values as coarse as a search's margins let them be."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .archive import MANTISSA, Codebook, Quantised
from .describe import describe
from .quantise import on_table, table_of
from .scores import Rise
from .uniform import bias

if TYPE_CHECKING:
    from .search import Trial

BIAS_BITS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)

Rounded = tuple[nn.Module, dict[str, Quantised], Rise]


def round_biases(trial: "Trial", net: nn.Module, biases: dict[str, np.ndarray]) -> Rounded:
    """The network with its biases on grids, the biases there, and its rise.

    The bits of the largest tensor are lowered first, where a bit saves the most, then those of the
    second, then of all others together, each time with those that follow as good as floats. Where
    biases as good as floats miss the margins, the coarsest grid for all that does not is the start.
    If every grid misses, biases become as coarse as they can without a rise in NLL or error over
    biases as good as floats. So the file is never larger than with those.

    :param biases: by name, float64; see `biases_of`.
    """
    names = sorted(biases, key=lambda name: -biases[name].size)
    bits = dict.fromkeys(names, BIAS_BITS[-1])
    best, fits = _rounded(trial, net, biases, bits), trial.fits
    if names and not fits(best[2]):
        bits, best = _coarsest_common(trial, net, biases, best)
        if not fits(best[2]):
            fits = partial(_no_worse, than=best[2])
    for group in filter(None, (names[:1], names[1:2], names[2:])):
        for width in (width for width in BIAS_BITS if width < bits[group[0]]):
            coarser = bits | dict.fromkeys(group, width)
            found = _rounded(trial, net, biases, coarser)
            if fits(found[2]):
                bits, best = coarser, found
                break
    return best


def _coarsest_common(
    trial: "Trial", net: nn.Module, biases: dict[str, np.ndarray], finest: Rounded
) -> tuple[dict[str, int], Rounded]:
    """The fewest bits for all biases that are within the margins; `finest` if none are."""
    for width in BIAS_BITS[:-1]:
        bits = dict.fromkeys(biases, width)
        found = _rounded(trial, net, biases, bits)
        if trial.fits(found[2]):
            return bits, found
    return dict.fromkeys(biases, BIAS_BITS[-1]), finest


def _rounded(
    trial: "Trial", net: nn.Module, biases: dict[str, np.ndarray], bits: dict[str, int]
) -> Rounded:
    coded = {name: bias(biases[name], width) for name, width in bits.items()}
    rounded = with_weights(net, coded)
    return rounded, coded, trial.rise(rounded)


def _no_worse(found: Rise, than: Rise) -> bool:
    return found.nll <= than.nll and found.error <= than.error


def round_codebooks(
    trial: "Trial", net: nn.Module, codes: dict[str, Quantised], found: Rise
) -> Rounded:
    """The network with codebook values of the fewest bits that the margins allow.

    The file holds each value, so that a network of few weights spends much of it on them. All
    codebooks have the same number of bits behind the leading one, or fewer. Where the network is
    not within the margins as it is, nothing changes.

    :param codes: its quantised weights by name; those on a uniform grid stay as they are.
    :param found: its rise.
    :returns: the network, all of its quantised weights, and its rise.
    """
    for bits in range(MANTISSA if trial.fits(found) else 0):
        coarser = {
            name: on_table(*table_of(tensor), bits)
            for name, tensor in codes.items()
            if isinstance(tensor.grid, Codebook) and tensor.grid.bits() > bits
        }
        if not coarser:
            break
        rounded = with_weights(net, coarser)
        rise = trial.rise(rounded)
        if trial.fits(rise):
            return rounded, codes | coarser, rise
    return net, codes, found


def with_weights(net: nn.Module, codes: dict[str, Quantised]) -> nn.Module:
    """A copy of a network with the values of quantised tensors."""
    return with_values(net, {name: tensor.values() for name, tensor in codes.items()})


def with_values(net: nn.Module, values: Mapping[str, np.ndarray | Tensor]) -> nn.Module:
    """A copy of a network with other values of tensors, by name."""
    net = copy.deepcopy(net)
    state = net.state_dict()
    for name, value in values.items():
        state[name].copy_(torch.as_tensor(value))
    return net


def biases_of(net: nn.Module) -> dict[str, np.ndarray]:
    """The biases of Linear and Conv layers by state_dict name, float64; shared ones once."""
    state = net.state_dict()
    biases = [spec.name for spec in describe(net).tensors() if spec.role == "bias"]
    return {name: state[name].double().numpy() for name in biases}
