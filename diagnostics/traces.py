"""What the diagnostics read off traces of a model and a guide."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

#: The site that holds the labels, in every model of `bitsback.models`.
LABELS = "y"


def proper(model: nn.Module) -> bool:
    """Whether the model's prior is a probability density."""
    return getattr(model, "proper", True)


def refuse_improper(model: nn.Module) -> None:
    """:raises ValueError: for an improper prior, under which there is no evidence."""
    if not proper(model):
        raise ValueError(improper(model))


def improper(model: nn.Module) -> str:
    """Why an improper prior has no evidence."""
    return (
        f"{type(model).__name__} has an improper prior: its density has an arbitrary constant for "
        "each weight, so log p(w, y) and the marginal likelihood are not defined. Use a model "
        "with a proper prior (models.Gaussian)"
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, each module afterwards in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def honest_trace(guide: Callable, x: Tensor, y: Tensor) -> poutine.Trace:
    """A trace of the guide in which a lazy weight is its ordinary draw."""
    trace = poutine.trace(guide).get_trace(x, y)
    for _, site in random_sites(trace):
        site["value"] = torch.clone(site["value"])
    return trace


def random_sites(trace: poutine.Trace) -> Iterator[tuple[str, dict]]:
    """The latent sample sites of a trace."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site):
            yield name, site


def has_points(trace: poutine.Trace) -> bool:
    """Whether a guide has a point mass: a Delta, and nothing random that it was computed from.

    Autoguides draw auxiliary sites and pass them on through Deltas, whose density is the Jacobian.
    """
    sites = [site for _, site in random_sites(trace)]
    passes_on = any(site["infer"].get("is_auxiliary") for site in sites)
    return not passes_on and any(is_delta(site["fn"]) for site in sites)


def is_delta(fn) -> bool:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, Delta)


def log_density(trace: poutine.Trace) -> Tensor:
    """Sum of the log densities of a trace's latent sites, nats, float64 scalar."""
    total = torch.zeros((), dtype=torch.float64)
    for _, site in random_sites(trace):
        log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
        log_prob = scale_and_mask(log_prob, site["scale"], site["mask"])
        total = total + torch.as_tensor(log_prob).double().sum().cpu()
    return total


def replayed(
    model: nn.Module, values: Mapping[str, Tensor], x: Tensor, y: Tensor | None
) -> poutine.Trace:
    """A trace of the model at the given values of its latent sites; labels drawn if not given.

    :raises ValueError: for a latent site without a value.
    """
    fixed = poutine.Trace()
    for name, value in values.items():
        fixed.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
    trace = poutine.trace(poutine.replay(model, trace=fixed)).get_trace(x, y)
    for name, _ in random_sites(trace):
        if name not in values and name != LABELS:
            raise ValueError(f"no draws of the site {name!r}, which the model samples")
    return trace


def pointwise(trace: poutine.Trace) -> Tensor:
    """log p(y_n | x_n, w) in nats, shape `(N,)`: a mini-batch's scale left out."""
    site = trace.nodes[LABELS]
    return site["fn"].log_prob(site["value"])
