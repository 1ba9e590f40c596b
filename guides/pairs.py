"""Whether a guide goes with a model, asked when the guide is made."""

from pyro import poutine
from torch import nn

from ..distributions.handlers import Blank

_LISTED = ": `bitsback methods` lists the guide of each model"


def check_pair(guide: nn.Module, model: nn.Module) -> None:
    """Refuse a model whose latent sites are not those that the guide draws.

    :param guide: a `NetworkGuide`; its class attributes count.
    :param model: a model of `bitsback.models`.
    :raises ValueError: says which models the guide takes.
    """
    kind = f"guides.{type(guide).__name__}"
    if not hasattr(model, "weight_names"):
        raise ValueError(
            f"{kind} takes a model of bitsback.models, which has the prior; got "
            f"{type(model).__name__}. Make one of the network first, as in "
            f"models.Gaussian(net, num_data)"
        )
    sites = latent_sites(model)
    lacking = [name for name in guide.needs if not hasattr(model, name)]
    if lacking:
        raise ValueError(f"{kind} takes {guide.takes}; {type(model).__name__} is none{_LISTED}")
    parts = [*guide.parts]
    if guide.draws_centers and getattr(model, "mixture", None) is not None:
        parts.append(".center")
    # Weights that share a scale have its site under one name.
    owners = model.groups.owners if hasattr(model, "groups") else {}
    wanted = [
        site if (site := f"{name}{part}") in sites else f"{owners.get(name, name)}{part}"
        for name in model.weight_names
        for part in parts
    ]
    missing = [site for site in wanted if site not in sites]
    if missing:
        lacks = f"has no latent site {missing[0]!r}"
        raise ValueError(f"{kind} takes {guide.takes}; {type(model).__name__} {lacks}{_LISTED}")
    lattice = [site for site in wanted if sites[site]]
    if lattice and not guide.on_lattice:
        raise ValueError(
            f"{kind} draws values between the steps of {type(model).__name__}'s integers, which "
            "have no probability there: use guides.Rounding"
        )


def latent_sites(model: nn.Module) -> dict[str, bool]:
    """The sites that make the weights, and whether each is discrete; draws no random numbers."""
    like = next(iter(model.initial_weights().values()))
    with poutine.block(), poutine.trace() as traced, Blank(like):
        model.sample_weights()
    return {
        name: site["fn"].support.is_discrete
        for name, site in traced.trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
