"""Which units of a network still matter, and the network computed on those alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .gated_relu import leaves_of

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
# What treats each feature map by itself, and what each unit; all send zeros to zeros.
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_PASSING = (*_POOLS, nn.ReLU, nn.Identity, nn.Dropout, nn.Flatten)


@dataclass(frozen=True)
class Link:
    """A layer of a chain.

    :param module: its path in the network.
    :param rectified: whether a ReLU is all that its outputs go through but pooling and flattening.
    """

    module: str
    rectified: bool

    @property
    def weight(self) -> str:
        """The state_dict name of its weight."""
        return f"{self.module}.weight" if self.module else "weight"


def chain_of(net: nn.Module, names: tuple[str, ...]) -> tuple[Link, ...]:
    """The layers of a network in their order, each reading the one before; () for other networks.

    Known for an nn.Sequential, nested or not, of Linear and ungrouped Conv layers whose weights
    are all latent, ReLUs, Dropout, pooling between or behind convolutions, and one flattening of
    feature maps, each module used once; where each layer has as many inputs as that says.

    :param names: state_dict names of the latent weights.
    """
    found: list[Link] = []
    before, between = None, []
    layers = leaves_of(net)
    if len({id(module) for _, module in layers}) != len(layers):
        return ()
    for path, module in layers:
        if type(module) in _WEIGHTED:
            link = Link(path, False)
            if link.weight not in names or getattr(module, "groups", 1) != 1:
                return ()
            if before is not None and not _reads(module, before, between):
                return ()
            found.append(link)
            before, between = module, []
        elif type(module) not in _PASSING:
            return ()
        else:
            between.append(module)
            if type(module) is nn.ReLU and found:
                found[-1] = Link(found[-1].module, True)
    pooled = type(before) is nn.Linear and any(type(module) in _POOLS for module in between)
    return tuple(found) if len(found) == len(names) and not pooled else ()


def _reads(module: nn.Module, before: nn.Module, between: list[nn.Module]) -> bool:
    """Whether a layer's inputs are the units of the one before in their order, each as a block."""
    flats = [at for at, m in enumerate(between) if type(m) is nn.Flatten]
    pools = [at for at, m in enumerate(between) if type(m) in _POOLS]
    if any((between[at].start_dim, between[at].end_dim) != (1, -1) for at in flats):
        return False
    if type(before) is nn.Linear:
        flat = type(module) is nn.Linear and module.in_features == before.out_features
        return flat and not pools
    if type(module) is nn.Linear:
        blocks = module.in_features % before.out_channels == 0
        return len(flats) == 1 and blocks and all(at < flats[0] for at in pools)
    return type(module) is type(before) and not flats and module.in_channels == before.out_channels


def living(
    chain: tuple[Link, ...],
    weights: Mapping[str, Tensor],
    biases: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Which output units of each layer matter: bool, by the weights' names; to a fixpoint.

    A unit does not if no living unit reads it, or if it is zero: no living unit is read by it, and
    its bias is, after the ReLU if there is one. Those of the last layer always do.

    :param biases: by the paths of the modules; a missing one is zero.
    :param before: what was found earlier; units that were dead stay so.
    :returns: `before` itself if a layer would be left without units.
    """
    alive = dict(before)
    while True:
        changed = False
        for link, after in pairwise(chain):
            own, next_units = alive[link.weight], alive[after.weight]
            weight = _of_living_inputs(chain, link, weights, alive)
            quiet = (weight == 0).flatten(1).all(1)
            bias = biases.get(link.module, weights[link.weight].new_zeros(len(own)))
            silent = quiet & ((bias <= 0) if link.rectified else (bias == 0))
            reading = weights[after.weight][next_units]
            read = (reading != 0).reshape(len(reading), len(own), -1).any(2).any(0)
            now = own & read & ~silent
            if not now.any():
                return dict(before)
            changed |= bool((now != own).any())
            alive[link.weight] = now
        if not changed:
            return alive


def living_inputs(
    chain: tuple[Link, ...], name: str, alive: Mapping[str, Tensor], columns: int
) -> Tensor | None:
    """Which inputs of a weight, taps and places included, come from living units: shape (columns,).

    None for the first layer, whose inputs are the network's own.

    :param columns: size of the weight's second axis (channels of a convolution).
    """
    at = [link.weight for link in chain].index(name)
    if at == 0:
        return None
    units = alive[chain[at - 1].weight]
    return units.repeat_interleave(columns // len(units))


def _of_living_inputs(chain, link: Link, weights, alive) -> Tensor:
    weight = weights[link.weight]
    read = living_inputs(chain, link.weight, alive, weight.shape[1])
    return weight if read is None else weight[:, read]


@contextmanager
def smaller(net: nn.Module, biases: Mapping[str, Tensor]) -> Iterator[None]:
    """The network with other values of the modules' biases for as long as the context lasts.

    Written to the dictionaries directly: what is no `nn.Parameter` would be refused.
    """
    holders = {path: net.get_submodule(path)._parameters for path in biases}
    kept = {path: holder["bias"] for path, holder in holders.items()}
    try:
        for path, holder in holders.items():
            holder["bias"] = biases[path]
        yield
    finally:
        for path, holder in holders.items():
            holder["bias"] = kept[path]


def indices(mask: Tensor | None) -> Tensor | None:
    """The numbers of the true entries, None if all are."""
    return None if mask is None or bool(mask.all()) else torch.nonzero(mask)[:, 0]
