"""One site at a time: intervals for forest plots, ranks against other draws."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .draws import Draws

_FACTORS = (".gamma", ".inverse_gamma")  # of the square of a half-Cauchy scale (models.Horseshoe)
_SCALES = (".scale", ".gate")


def scales(draws: Draws) -> dict[str, Tensor]:
    """The scales and gates among the sites, shape `(S, *site shape)`.

    Sites called `<name>.scale` and `<name>.gate`, and of the horseshoe the half-Cauchy scales
    that its factors make: `<name>.global` is s and `<name>.local` is z, square roots of products.
    """
    result: dict[str, Tensor] = {}
    for site, values in draws.values.items():
        factor = next((end for end in _FACTORS if site.endswith(end)), None)
        if factor is not None:
            name = site.removesuffix(factor)
            result[name] = values.sqrt() * result.get(name, torch.ones(()))
        elif site.endswith(_SCALES):
            result[site] = values
    return result


def readable(draws: Draws) -> dict[str, Tensor]:
    """All sites, with the half-Cauchy scales in place of the factors that make them."""
    kept = {name: v for name, v in draws.values.items() if not name.endswith(_FACTORS)}
    return kept | scales(draws)


def intervals(values: Tensor, coverage: float = 0.94) -> Tensor:
    """Low end, median and high end of each value's central interval.

    :param values: draws, shape `(S, *site shape)`.
    :param coverage: share of the draws within.
    :returns: float64, shape `(3, numel of a draw)`.
    """
    tail = (1 - coverage) / 2
    levels = torch.tensor([tail, 0.5, 1 - tail], dtype=torch.float64)
    return torch.quantile(values.detach().double().flatten(1), levels, dim=0)


def ranks(draws: Draws, reference: Draws) -> dict[str, Tensor]:
    """Where a guide's draws lie among those of the posterior, by site that both have.

    The share of reference draws below each draw: uniform where q has the posterior's marginal,
    heaped in the middle where it is too narrow, at 0 and 1 where it is too wide, to one side where
    it is biased. Plotted as a histogram it is a rank plot; `distance_to_uniform` measures it.

    **It cannot say** whether correlations are right; and reference draws of MCMC are dependent, so
    that even equal marginals differ by more than independent draws would.

    :param draws: of a guide.
    :param reference: of MCMC on the same model and data, by `draw`.
    :returns: shape `(S, *site shape)`, float64.
    """
    return {
        name: _share_below(values, reference.values[name])
        for name, values in _both(draws.values, reference.values)
    }


def _both(one: Mapping[str, Tensor], other: Mapping[str, Tensor]):
    return ((name, values) for name, values in one.items() if name in other)


def _share_below(values: Tensor, reference: Tensor) -> Tensor:
    flat, ordered = values.flatten(1).T.contiguous(), reference.flatten(1).T.sort(1).values
    below = torch.searchsorted(ordered.contiguous(), flat.to(ordered.dtype))
    return (below.double() / len(reference)).T.reshape(values.shape)
