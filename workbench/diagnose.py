"""Data that cannot be trained on, and what was not finite when a step failed."""

import torch
from torch import Tensor

from .steps import Pair


class NonFiniteError(ArithmeticError):
    """NaN or infinity in training: in data, loss, gradient or parameter."""


def check_data(pair: Pair, x: Tensor, y: Tensor, batch: int) -> None:
    """Refuse training data that do not fit the model.

    :raises ValueError: for lengths that differ, labels out of range, or inputs that the network
        does not take.
    :raises NonFiniteError: for NaN or infinity in the inputs or labels.
    """
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"training data: {len(x)} inputs but {len(y)} labels; both must be > 0")
    for what, values in (("inputs", x), ("labels", y)):
        if values.is_floating_point() and not torch.isfinite(values).all():
            where = int((~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()[0])
            raise NonFiniteError(f"training data: NaN or infinity in the {what} of example {where}")
    net = pair.model.get_submodule("net")
    was_training = net.training
    try:
        net.eval()  # so that a look at the data leaves no trace in BatchNorm or the generators
        with torch.no_grad():
            output = pair.model.output(x[:batch], pair.model.initial_weights())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the network does not take inputs of shape {tuple(x.shape[1:])}: {reason}"
        ) from error
    finally:
        net.train(was_training)
    if not y.is_floating_point() and output.dim() > 1:
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= output.shape[-1]:
            raise ValueError(
                f"labels run from {low} to {high}, but the network has {output.shape[-1]} outputs: "
                f"labels must lie in 0..{output.shape[-1] - 1}"
            )


def name_culprit(pair: Pair, x: Tensor, y: Tensor, kl_weight: float, step: int) -> str:
    """What was not finite in a failed step, found by doing it again eagerly."""
    advice = "try a lower learning rate, or a longer KL warm-up; the last checkpoint is kept"
    for name, parameter in pair.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"step {step}: NaN or infinity in the parameter {_site(name)}; {advice}"
    log_likelihood, kl = pair(x, y)
    for what, term in (("expected log likelihood", log_likelihood), ("KL", kl)):
        if not torch.isfinite(term):
            return f"step {step}: the {what} is {term.item()}; {advice}"
    (kl_weight * kl - log_likelihood).backward()
    for name, parameter in pair.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"step {step}: NaN or infinity in the gradient of {_site(name)}; {advice}"
    return f"step {step}: NaN or infinity that did not come up again with other noise; {advice}"


def _site(parameter: str) -> str:
    """`guide.log_scale.fc1.weight` -> `log_scale of site fc1.weight`."""
    owner, _, rest = parameter.partition(".")
    kind, _, site = rest.partition(".")
    return f"{kind} of site {site}" if owner == "guide" else f"{site or kind} of the network"
