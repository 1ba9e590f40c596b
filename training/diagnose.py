"""Data that cannot be trained on, and what was not finite when a step failed."""

import pyro
import torch
from torch import Tensor

from ..common.examples import Inputs, check_pair, take, tensors
from ..common.labels import check_labels
from ..common.modes import modes_kept
from ..guides.elbo import ELBO
from .steps import Pair

_ADVICE = "try a lower learning rate, or a longer KL warm-up; the last checkpoint is kept"


class NonFiniteError(ArithmeticError):
    """NaN or infinity in training: in data, loss, gradient or parameter."""


def check_data(pair: Pair, x: Inputs, y: Tensor, batch: int, part: str = "training") -> None:
    """Refuse data that do not fit the model.

    :raises ValueError: for lengths that differ, labels that the likelihood cannot mean, or inputs
        that the network does not take.
    :raises NonFiniteError: for NaN or infinity in the inputs or labels.
    """
    check_pair((x, y), part)
    for what, values in (*(("inputs", t) for t in tensors(x)), ("labels", y)):
        if values.is_floating_point() and not torch.isfinite(values).all():
            where = int((~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()[0])
            raise NonFiniteError(f"{part} data: NaN or infinity in the {what} of example {where}")
    net, some = pair.model.get_submodule("net"), take(x, slice(batch))
    try:
        with modes_kept(net), torch.no_grad():
            net.eval()  # so that a look leaves no trace in BatchNorm or the generators
            output = pair.model.output(some, pair.model.initial_weights())
    except RuntimeError as error:
        reason, shapes = str(error).splitlines()[0], [tuple(t.shape[1:]) for t in tensors(x)]
        raise ValueError(
            f"the network does not take inputs of shape {', '.join(map(str, shapes))}: {reason}"
        ) from error
    if part == "validation" and not isinstance(output, Tensor):
        raise ValueError(
            f"the network gives a {type(output).__name__}, and a validation error needs one "
            "tensor: leave validation out"
        )
    likelihood = getattr(pair.model, "likelihood_name", None)
    if likelihood is not None:
        check_labels(y, likelihood, output, part)


def check_state(pair: Pair, step: int) -> None:
    """Refuse to go on from, or to keep, a state that is not finite.

    :raises NonFiniteError: names the parameter or buffer.
    """
    for name, value in pair.state_dict().items():
        # Extra state of a module (get_extra_state) may be anything.
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise NonFiniteError(f"step {step}: NaN or infinity in {_site(name)}; {_ADVICE}")


def name_culprit(pair: Pair, x: Tensor, y: Tensor, kl_weight: float, step: int) -> str:
    """What was not finite in a failed step, found by doing it again eagerly."""
    for name, parameter in pair.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"step {step}: NaN or infinity in {_site(name)}; {_ADVICE}"
    if hasattr(pair.guide, "posterior"):
        for site, weight in pair.guide.posterior().weights.items():
            if not torch.isfinite(weight.stddev).all():
                return f"step {step}: the standard deviation of site {site} is infinite; {_ADVICE}"
    with pyro.validation_enabled(False):  # it would raise an error of its own
        terms = ELBO().terms(pair.model, pair.guide, x, y)
    for site, kl in terms.kl.items():
        if not torch.isfinite(kl):
            return f"step {step}: the KL of site {site} is {kl.item()}; {_ADVICE}"
    log_likelihood = terms.expected_log_likelihood
    if not torch.isfinite(log_likelihood):
        what = f"the expected log likelihood of site y is {log_likelihood.item()}"
        return f"step {step}: {what}; {_ADVICE}"
    pair.zero_grad()
    (kl_weight * terms.total_kl - log_likelihood).backward()
    for name, parameter in pair.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"step {step}: NaN or infinity in the gradient of {_site(name)}; {_ADVICE}"
    return f"step {step}: NaN or infinity that did not come up again with other noise; {_ADVICE}"


def _site(parameter: str) -> str:
    """`guide.log_scale.fc1.weight` -> `log_scale of site fc1.weight`."""
    owner, _, rest = parameter.partition(".")
    kind, _, site = rest.partition(".")
    return f"{kind} of site {site}" if owner == "guide" else f"{site or kind} of the network"
