"""Draws of an approximate posterior with all that a diagnostic may ask of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro import poutine
from pyro.infer import MCMC
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from .axes import axes_of
from .traces import (
    LABELS,
    evaluating,
    has_points,
    honest_trace,
    improper,
    log_density,
    pointwise,
    proper,
    random_sites,
    replayed,
)


@dataclass(frozen=True)
class Draws:
    """S draws from an approximate posterior q of the latent sites, with densities at each.

    All on the CPU, wherever the model is.

    :param values: by site, latent ones and the effective weights, shape `(S, *site shape)`.
    :param log_likelihood: log p(y_n | x_n, w_s) in nats, shape `(S, N)`.
    :param log_prior: log p(w_s) in nats, float64, shape `(S,)`; None under an improper prior.
    :param log_q: log q(w_s) in nats, float64, shape `(S,)`; None where q has no density (a point)
        or is not known (MCMC).
    :param predictions: labels drawn from p(y | x, w_s), shape `(S, *y.shape)`, if asked for.
    :param exact: the draws are from the posterior itself, by MCMC, not from a guide.
    :param chains: the draws are that many chains of equal length, one after the other.
    :param why: what stands against a log ratio; "" where nothing does.
    :param axes: names of the axes of one draw, by site, where they are known (see `axes_of`).
    :param latent_values: how many values a draw has at latent sites, without the effective weights
        that are made of them.
    """

    values: Mapping[str, Tensor]
    log_likelihood: Tensor
    log_prior: Tensor | None
    log_q: Tensor | None
    predictions: Tensor | None = None
    exact: bool = False
    chains: int = 1
    why: str = ""
    latent_values: int = 0
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def log_joint(self) -> Tensor:
        """log p(w_s, y | x) in nats, shape `(S,)`."""
        if self.log_prior is None:
            raise ValueError(self.why)
        return self.log_prior + self.log_likelihood.double().sum(1)

    @property
    def log_ratio(self) -> Tensor:
        """log p(w_s, y | x) - log q(w_s) in nats, shape `(S,)`.

        :raises ValueError: where there is none, and says why.
        """
        if self.why:
            raise ValueError(self.why)
        return self.log_joint - self.log_q


def as_chains(runs: Sequence[Draws]) -> Draws:
    """Draws of several trainings of one pair, each a chain of the result.

    Between chains of independent draws R-hat says whether the restarts ended at the same place,
    which that of one guide's draws cannot. Weights of a network that only swap their units differ.

    :param runs: equally many draws each, of the same sites, on the same data.
    :raises ValueError: for other numbers of draws, or none.
    """
    if len({len(run.log_likelihood) for run in runs}) != 1:
        raise ValueError("as_chains() needs runs, of the same number of draws each")
    first = runs[0]
    joined = {
        key: None if any(getattr(run, key) is None for run in runs)
        else torch.cat([getattr(run, key) for run in runs])
        for key in ("log_likelihood", "log_prior", "log_q", "predictions")
    }  # fmt: skip
    values = {name: torch.cat([run.values[name] for run in runs]) for name in first.values}
    chains = sum(run.chains for run in runs)
    why = next((run.why for run in runs if run.why), "")
    return replace(first, values=values, chains=chains, why=why, **joined)


@torch.no_grad()
def draw(
    model: nn.Module,
    source: Callable | MCMC | Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    num_samples: int = 1000,
    batch_size: int = 1000,
    sites: Iterable[str] | None = None,
    predict: bool = False,
) -> Draws:
    """Draw from `source`, one draw at a time, and score each on the data, in batches.

    Peak memory is what is returned, its largest site once more, and one batch of one draw. The
    model's network is in evaluation mode meanwhile; locally reparameterised weights become honest
    draws, the same for all examples.

    :param model: a model of `bitsback.models`.
    :param source: a guide of `bitsback.guides`, a Pyro autoguide, any other guide; a finished
        `MCMC`; or draws by site, shape `(S, *site shape)`, whose density is not known.
    :param x: inputs, shape `(N, ...)`.
    :param y: labels, shape `(N, ...)`. Log ratios need the whole training data.
    :param num_samples: draws from a guide; MCMC and draws have their own number.
    :param batch_size: examples at a time.
    :param sites: the sites to keep in `values`; default: all of them.
    :param predict: draw labels too.
    :raises ValueError: for a latent site that the source does not have, or the model.
    """
    wanted = None if sites is None else set(sites)
    kept: dict[str, list[Tensor]] = {}
    scores: dict[str, list[Tensor]] = {"likelihood": [], "prior": [], "q": [], "labels": []}
    chains, drawn = draws_of(source, x[:batch_size], y[:batch_size], num_samples)
    first, atoms, size = None, False, 0
    with evaluating(model):
        for values, log_q in drawn:
            trace, log_likelihood, labels = _score(model, values, x, y, batch_size, predict)
            foreign = sorted({*values} - {*trace.nodes})
            if foreign and not isinstance(source, MCMC | Mapping):
                raise ValueError(
                    f"the guide draws {foreign[0]!r}, which the model does not sample: make the "
                    "guide of this model"
                )
            atoms, first = atoms or _repeats(trace, first, values), first or values
            size = sum(site["value"].numel() for _, site in random_sites(trace))
            for name, value in weights_of(trace):
                if wanted is None or name in wanted:
                    kept.setdefault(name, []).append(value.cpu())
            scores["likelihood"].append(log_likelihood)
            scores["prior"].append(_if_known(trace) if proper(model) else None)
            scores["q"].append(log_q)
            scores["labels"].append(labels)
    log_prior, log_q = _stacked(scores["prior"]), None if atoms else _stacked(scores["q"])
    shapes = {name: drawn[0].shape for name, drawn in kept.items()}
    return Draws(
        # Each site's list is let go before the next is stacked.
        values={name: torch.stack(kept.pop(name)) for name in list(kept)},
        log_likelihood=torch.stack(scores["likelihood"]),
        log_prior=log_prior,
        log_q=log_q,
        predictions=_stacked(scores["labels"]),
        exact=isinstance(source, MCMC | Mapping),
        chains=chains,
        why=_objection(model, source, y, log_prior, log_q),
        latent_values=size,
        axes=axes_of(model, shapes),
    )


def _repeats(trace: poutine.Trace, first: Mapping | None, values: Mapping) -> bool:
    """Whether q has atoms: two draws of a continuous site agree in more than a tenth of it.

    Such as dropout's, whatever its log_prob says. Rounding makes single places agree.
    """
    if first is None:
        return False
    continuous = [
        n for n, s in random_sites(trace) if n in values and values[n].is_floating_point()
    ]
    return any((first[n] == values[n]).double().mean() > 0.1 for n in continuous)


def _stacked(values: list[Tensor | None]) -> Tensor | None:
    return None if values[0] is None else torch.stack(values)


def _objection(model: nn.Module, source: Any, y: Tensor, log_prior, log_q) -> str:
    """Why these draws have no log ratio log p(w, y) - log q(w); "" where they do."""
    if not proper(model):
        return improper(model)
    if log_prior is None:
        return f"the prior of {type(model).__name__} has no log density that could be evaluated"
    if log_q is None and isinstance(source, MCMC | Mapping):
        return "these draws come without a guide, so log q(w) is not known"
    if log_q is None:
        return (
            f"{type(source).__name__} has no density: it puts one or a few points where the model "
            "has a density, or draws from what has no log_prob. Use a guide with a density "
            "(guides.MeanFieldNormal)"
        )
    if len(y) != getattr(model, "num_data", len(y)):
        return (
            f"a log ratio needs all the training data: {len(y)} examples were given, and the "
            f"model's num_data is {model.num_data}"
        )
    return ""


def draws_of(source, x, y, num_samples: int) -> tuple[int, Iterator[tuple[dict, Tensor | None]]]:
    """How many chains, and the draws with log q of each (None: not known or not finite)."""
    chains = 1
    if isinstance(source, MCMC):
        grouped = source.get_samples(group_by_chain=True)
        chains = len(next(iter(grouped.values())))
        source = {name: value.flatten(0, 1) for name, value in grouped.items()}
    if isinstance(source, Mapping):
        count = len(next(iter(source.values())))
        return chains, (({k: v[i] for k, v in source.items()}, None) for i in range(count))
    return chains, (guide_draw(source, x, y) for _ in range(num_samples))


def guide_draw(guide: Callable, x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """One honest draw of each of the model's sites, and log q of it (None for a point)."""
    trace = honest_trace(guide, x, y)
    values = {
        name: site["value"]
        for name, site in random_sites(trace)
        if not site["infer"].get("is_auxiliary")
    }
    return values, None if has_points(trace) else _if_known(trace)


def _if_known(trace: poutine.Trace) -> Tensor | None:
    """The log density, or None where a site's distribution has none (a relaxed gate, say)."""
    try:
        return log_density(trace)
    except NotImplementedError:
        return None


def _score(model, values, x, y, batch_size: int, predict: bool):
    """The model's trace on the first batch, log likelihoods of all, and labels drawn for all."""
    first, scores, labels = None, [], []
    for start in range(0, len(y), batch_size):
        part = slice(start, start + batch_size)
        trace = replayed(model, values, x[part], y[part])
        first = first or trace
        scores.append(pointwise(trace).cpu())
        if predict:
            labels.append(trace.nodes[LABELS]["fn"].sample().cpu())
    return first, torch.cat(scores), torch.cat(labels) if predict else None


def weights_of(trace: poutine.Trace) -> Iterator[tuple[str, Tensor]]:
    """The model's latent sites and its deterministic ones (effective weights), honest."""
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site) or site["cond_indep_stack"]:
            continue
        if not site["is_observed"] or site["infer"].get("_deterministic"):
            yield name, torch.clone(site["value"])
