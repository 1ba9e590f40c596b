"""Which gates to open and close so that a gated network has the BOPs asked for."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from .bops import relative_bops

NEAR = 0.01  # a share of what was asked for: no gate is flipped for less


@torch.no_grad()
def nearest_states(
    model: nn.Module, distances: Mapping[str, Tensor], wanted: float
) -> dict[str, Tensor]:
    """States 0 and 1 of all gates, with BOPs near `wanted` and few and near gates flipped.

    Gates start open where their distance is positive. One is flipped after the other: that with the
    least |distance| for each unit of |log(BOPs / wanted)| that it takes off, each once at most,
    until BOPs are within `NEAR` of what is wanted or no flip helps. If none does before, all starts
    with one more gate of widths flipped are tried too, and the nearest end wins; of those within
    `NEAR` the one with the least sum of |distance|.

    :param model: a `models.BayesianBits` that has been measured.
    :param distances: of each site's gates, log odds of being open less those of the threshold.
    :param wanted: BOPs over those of the network at 32 bits.
    """
    start = {site: (found > 0).to(found.dtype) for site, found in distances.items()}
    best = _descend(model, distances, start, wanted)
    if best[0] <= NEAR:
        return best[2]
    for site, found in distances.items():
        for k in range(model.units(site), len(found)):
            other = _descend(model, distances, _flipped(start, site, k), wanted)
            best = min(best, other, key=lambda end: end[:2])
    return best[2]


def _descend(
    model: nn.Module, distances: Mapping[str, Tensor], states: dict[str, Tensor], wanted: float
) -> tuple[float, float, dict[str, Tensor]]:
    """Miss (at least `NEAR`), sum of |distance| of flipped gates, and states at the end."""
    miss = _miss(model, states, wanted)
    while miss > NEAR:
        ends = []
        for site, k in _moves(model, distances, states):
            left = _miss(model, _flipped(states, site, k), wanted)
            if left < miss:
                ends.append((abs(distances[site][k].item()) / (miss - left), left, site, k))
        if not ends:
            break
        _, miss, site, k = min(ends)
        states = _flipped(states, site, k)
    flipped = (abs(d[states[s] != (d > 0)]).sum().item() for s, d in distances.items())
    return max(miss, NEAR), sum(flipped), states


def _moves(
    model: nn.Module, distances: Mapping[str, Tensor], states: Mapping[str, Tensor]
) -> Iterator[tuple[str, int]]:
    """Gates that have not been flipped: all of widths; of units the nearest open and closed."""
    for site, found in distances.items():
        units, kept = model.units(site), states[site] == (found > 0)
        yield from ((site, k) for k in range(units, len(found)) if kept[k])
        for side in (found[:units] > 0, found[:units] <= 0):
            left = torch.where(side & kept[:units], found[:units].abs(), math.inf)
            if units and left.min() < math.inf:
                yield site, int(left.argmin())


def _flipped(states: Mapping[str, Tensor], site: str, k: int) -> dict[str, Tensor]:
    changed = states[site].clone()
    changed[k] = 1 - changed[k]
    return {**states, site: changed}


def _miss(model: nn.Module, states: Mapping[str, Tensor], wanted: float) -> float:
    found = sum(relative_bops(model, states).values()).item()  # 0 if a layer is closed altogether
    return abs(math.log(found / wanted)) if found > 0 else math.inf
