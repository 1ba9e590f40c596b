"""Whether model and guide have the same latent sites, seen where an objective runs the pair."""

from collections.abc import Callable, Iterable

from pyro import poutine
from pyro.poutine.replay_messenger import ReplayMessenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ..distributions.handlers import refuse_handlers

_MOST = 5  # sites that a message names


def sampled(sample: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `sample()` returns, its latent sites held against those of the guide that it replays.

    Objectives of Pyro train a pair whose sites differ with a warning at most: a site that the guide
    lacks is drawn from the prior, and one that the model lacks adds its entropy alone.

    :raises ValueError: names the sites that one of the two lacks.
    :raises NotImplementedError: see `refuse_handlers`.
    """
    refuse_handlers()
    guides = [h.trace for h in _PYRO_STACK if isinstance(h, ReplayMessenger) and h.trace]
    with poutine.trace() as traced:
        result = sample()
    for guide in guides:
        _compare(traced.trace, guide)
    return result


def _compare(model: poutine.Trace, guide: poutine.Trace) -> None:
    drawn = {
        name
        for name, site in guide.nodes.items()
        if "fn" in site and _is_latent(site) and not site["infer"].get("is_auxiliary")
    }
    if not drawn:  # values of the user's own, not a guide's trace
        return
    lacking = {n for n, site in model.nodes.items() if _is_latent(site)} - {*guide.nodes}
    foreign = drawn - {*model.nodes}
    if lacking or foreign:
        said = [f"the guide does not draw {_named(lacking)}"] if lacking else []
        said += [f"the model does not sample {_named(foreign)}"] if foreign else []
        raise ValueError(
            f"model and guide have different latent sites: {'; '.join(said)}. Make the guide of "
            "the model that it is trained with"
        )


def _is_latent(site: dict) -> bool:
    return site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)


def _named(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(map(repr, names[:_MOST])) + more
