"""The `Posterior` of any inference result: this project's guides, Pyro's, or MCMC draws."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.infer import MCMC
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuide,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ..posterior import Posterior, WeightPosterior

# Autoguides whose marginals are normal, so that their quantiles give the exact moments. Others have
# `quantiles` too, but some only to raise.
_NORMAL = (
    AutoDiagonalNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
# Of N(0, 1), where the distribution function is at one standard deviation on either side.
_ONE_STDDEV = (0.15865525393145707, 0.8413447460685429)


def posterior_of(source: Any, model: nn.Module, *args: Any, num_samples: int = 200) -> Posterior:
    """What compression needs of an approximate posterior, whoever made it.

    :param source: a guide of `bitsback.guides`; a Pyro autoguide or any other guide (a callable
        with sample statements); a finished `pyro.infer.MCMC`; or draws by site, shape
        `(samples, *site.shape)`: of the weights, or of all sites that make them.
    :param model: the model of `bitsback.models` that it approximates the posterior of.
    :param args: what the guide is called with, for guides that look at it.
    :param num_samples: draws to estimate moments from, where there is no closed form; their
        relative standard error is about 1 / sqrt(2 num_samples).
    :returns: moments in closed form for this project's guides and for autoguides with normal
        marginals, else from draws.
    :raises ValueError: for draws under an improper prior, whose posterior need not exist; for a
        weight without draws, of its own or of a site that makes it, or draws of another shape; for
        a `model` that is none of `bitsback.models`.

    >>> guide = pyro.infer.autoguide.AutoNormal(model)  # trained with Trace_ELBO
    >>> result = bitsback.compress(
    ...     model.trained(), bitsback.posterior_of(guide, model), validation=(x_val, y_val)
    ... )
    """
    if not hasattr(model, "proper"):
        raise ValueError(
            "posterior_of takes the guide first, then its model of bitsback.models; got a "
            f"{type(model).__name__} for the model"
        )
    if hasattr(source, "posterior"):
        return _of(model, source.posterior(*args))
    if not model.proper:
        raise ValueError(
            f"{type(model).__name__} has an improper prior, so its exact posterior need not exist "
            "and draws say nothing: use a guide that METHODS lists, or a proper prior"
        )
    if isinstance(source, AutoDelta):
        points = {name: point[None] for name, point in source.median(*args).items()}
        points = _effective(points, model)
        moments = {k: (v[0], torch.zeros_like(v[0])) for k, v in points.items()}
    elif isinstance(source, _NORMAL) and (suffix := _suffix_of_weights(model)) is not None:
        moments = _from_quantiles(source, suffix, *args)
    elif isinstance(source, MCMC):
        moments = _from_draws(source.get_samples(), model)
    elif isinstance(source, Mapping):
        moments = _from_draws(source, model)
    else:
        moments = _from_draws(_draw(source, num_samples, *args), model)
    return Posterior({name: _weight(name, moments, model) for name in model.weight_names})


def _of(model: nn.Module, posterior: Posterior) -> Posterior:
    """The posterior, if its weights are the model's."""
    foreign = sorted({*posterior.weights} ^ {*model.weight_names})
    if foreign:
        raise ValueError(
            f"the guide is of another model: {foreign[0]!r} is a weight of one of the two only; "
            f"the model's are {', '.join(model.weight_names)}"
        )
    return posterior


@torch.no_grad()
def _latent_sites(model: nn.Module) -> set[str]:
    """The sites that make the weights."""
    trace = poutine.trace(poutine.block(model.sample_weights, hide_types=["param"])).get_trace()
    return set(trace.stochastic_nodes)


def _suffix_of_weights(model: nn.Module) -> str | None:
    """What follows each weight's name in the name of its own site; None for products of sites."""
    sites = _latent_sites(model)
    for suffix in ("", ".centred"):
        if all(f"{name}{suffix}" in sites for name in model.weight_names):
            return suffix
    return None


@torch.no_grad()
def _effective(draws: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Draws of the weights, from draws of them or of the sites that make them."""
    if all(name in draws for name in model.weight_names) or _suffix_of_weights(model) == "":
        return dict(draws)
    sites = _latent_sites(model)
    missing = sorted(sites - set(draws))
    if missing:
        raise ValueError(f"no draws of the site {missing[0]!r}; sites: {', '.join(draws)}")
    count = min(len(draws[site]) for site in sites)
    weights = [
        poutine.condition(model.sample_weights, {site: draws[site][i] for site in sites})()
        for i in range(count)
    ]
    return {name: torch.stack([w[name] for w in weights]) for name in model.weight_names}


def _from_quantiles(guide: AutoGuide, suffix: str, *args) -> dict[str, tuple[Tensor, Tensor]]:
    """Exact for autoguides with normal marginals, as every latent weight is unconstrained."""
    median = guide.median(*args)
    quantiles = guide.quantiles(list(_ONE_STDDEV), *args)
    result = {}
    for site, levels in quantiles.items():
        low, high = levels  # a stack or a list of two, by the kind of autoguide
        result[site.removesuffix(suffix)] = median[site], (high - low) / 2
    return result


@torch.no_grad()
def _draw(guide: Any, num_samples: int, *args) -> dict[str, Tensor]:
    draws: dict[str, list[Tensor]] = {}
    for _ in range(num_samples):
        # From the trace, since a guide need not return its draws.
        for name, site in poutine.trace(guide).get_trace(*args).nodes.items():
            if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site):
                # A lazy weight becomes its ordinary draw.
                draws.setdefault(name, []).append(torch.clone(site["value"]))
    return {name: torch.stack(values) for name, values in draws.items()}


def _from_draws(draws: Mapping[str, Tensor], model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    for name, values in draws.items():
        if len(values) < 2:
            raise ValueError(f"site {name!r}: {len(values)} draws; a stddev needs two at least")
    effective = _effective(draws, model)
    return {name: (values.mean(0), values.std(0)) for name, values in effective.items()}


def _weight(name: str, moments: Mapping[str, tuple[Tensor, Tensor]], model: nn.Module):
    shape = model.initial_weights()[name].shape
    if name not in moments:
        raise ValueError(f"no draws of the weight {name!r}; sites: {', '.join(moments)}")
    loc, stddev = (moment.detach().reshape(moment.shape) for moment in moments[name])
    if loc.shape != shape:
        raise ValueError(f"site {name!r}: draws of shape {tuple(loc.shape)}, not {tuple(shape)}")
    if not stddev.any():
        return WeightPosterior(loc, stddev, torch.ones(()))
    log_alpha = 2 * (stddev.log() - loc.abs().log())
    # A weight that is 0 in every draw would be NaN; it is surely to go.
    log_alpha = log_alpha.masked_fill(loc == 0, torch.inf)
    return WeightPosterior(loc, stddev, torch.ones(()), log_alpha)
