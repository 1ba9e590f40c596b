"""Pareto k-hat of a whole guide, and of its sites one at a time."""

from collections.abc import Callable

import torch
from pyro import poutine
from torch import Tensor, nn

from .draws import draw
from .psis import psis
from .traces import (
    evaluating,
    honest_trace,
    is_delta,
    log_density,
    pointwise,
    random_sites,
    replayed,
)


def khat(model: nn.Module, guide: Callable, x: Tensor, y: Tensor, num_samples: int = 1000) -> float:
    """The joint k-hat: of log p(w, y | x) - log q(w) over all latent sites at once.

    For models of up to a few hundred latent values. It grows with their number even where each
    marginal is good (for N(0, 1.1^2) approximated by N(0, 1): 0.3 with 10, 1.4 with 1,000).

    :raises ValueError: under an improper prior, for a guide of points, and on part of the data.
    """
    return psis(draw(model, guide, x, y, num_samples, sites=()).log_ratio).khat


@torch.no_grad()
def khat_by_site(
    model: nn.Module,
    guide: Callable,
    x: Tensor,
    y: Tensor,
    num_samples: int = 200,
    contexts: int = 3,
    batch_size: int = 1000,
    largest: int | None = None,
) -> dict[str, Tensor]:
    """The k-hat of each of the guide's sites, all others held at a draw of the guide.

    In each context the site is drawn anew, `num_samples` times, from the guide given what the
    guide drew before it; the ratios are those of p(site | all others, y) to it. They say whether
    the guide's conditional fits the model's *there*. They cannot say whether the guide misses a
    correlation between sites, or a mode: two sites that always move together can both look well.
    A large site (a whole layer) has a large k-hat for its dimension alone.

    :param largest: leave out sites of more values; default: none.
    :returns: by the guide's site (those of autoguides are auxiliary), shape `(contexts,)`.
    :raises ValueError: under an improper prior, for a guide of points, and on part of the data.
    """
    _ = draw(model, guide, x, y, 2, batch_size, sites=()).log_ratio  # raises if there is none
    found: dict[str, list[float]] = {}
    with evaluating(model):
        for _ in range(contexts):
            start = honest_trace(guide, x[:batch_size], y[:batch_size])
            for name in _drawn(start):
                if largest is not None and start.nodes[name]["value"].numel() > largest:
                    continue
                ratios = [
                    _log_ratio(model, guide, start, name, x, y, batch_size)
                    for _ in range(num_samples)
                ]
                found.setdefault(name, []).append(psis(torch.stack(ratios)).khat)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def _drawn(trace: poutine.Trace) -> list[str]:
    """Sites that the guide draws; those that it only passes on are Deltas."""
    return [name for name, site in random_sites(trace) if not is_delta(site["fn"])]


def _log_ratio(model, guide, start: poutine.Trace, name: str, x, y, batch_size: int) -> Tensor:
    """log p(all sites, y) - log q(site | what was drawn before it), the site drawn anew."""
    fixed = poutine.Trace()
    for other in _drawn(start):
        if other != name:
            fixed.add_node(other, **start.nodes[other])
    trace = honest_trace(poutine.replay(guide, trace=fixed), x[:batch_size], y[:batch_size])
    values = {site: node["value"] for site, node in random_sites(trace)}
    total = torch.zeros((), dtype=torch.float64)
    for first in range(0, len(y), batch_size):
        part = slice(first, first + batch_size)
        model_trace = replayed(model, values, x[part], y[part])
        if first == 0:
            total = total + log_density(model_trace)
        total = total + pointwise(model_trace).double().sum()
    others = poutine.Trace()
    for other, site in random_sites(trace):
        # Deltas carry the Jacobians of the values that are passed on.
        if other == name or is_delta(site["fn"]):
            others.add_node(other, **site)
    return total - log_density(others)
