"""What `shrink` is given, checked before any work is done."""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from ..common.examples import (
    Inputs,
    arguments,
    count,
    each,
    inputs_on_cpu,
    on_cpu,
    passed,
    take,
    tensors,
)
from ..common.modes import evaluating
from ..common.modules import copied, float32_if_less, lowest_precision
from .scores import LIKELIHOODS, check_inputs, described


def check_options(max_drop: float, target_bytes: int | None, likelihood: str | None) -> None:
    """Raise ValueError for options that mean nothing."""
    if not _is(max_drop, Real) or not (0 <= max_drop < math.inf):
        raise ValueError(f"max_drop must be a number of percentage points >= 0; got {max_drop!r}")
    if target_bytes is not None and (not _is(target_bytes, Integral) or target_bytes < 1):
        raise ValueError(f"target_bytes must be a whole number >= 1; got {target_bytes!r}")
    if likelihood is not None and likelihood not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {likelihood!r}; known: {', '.join(LIKELIHOODS)}")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_calibration(x: Any, net: nn.Module, part: str = "calibration") -> Inputs:
    """Inputs that a network takes, detached, on the CPU and in the precision of its weights.

    Low-precision inputs, and those of a low-precision network, are float32: it is copied as such.

    :param x: a tensor, or a tuple or dict of tensors of as many examples each.
    :returns: as `common.examples.arguments` gives them.
    :raises ValueError: no tensors, NaN or infinity, all the same, or of another shape than the
        network takes.
    """
    if not isinstance(x, Tensor) and not tensors(x):
        raise ValueError(
            f"{part} inputs must be a tensor of shape (n, ...), or a tuple or dict of such, not a "
            f"{type(x).__name__}: stack them"
        )
    examples = count(x, part)
    if not examples:
        raise ValueError(f"there are no {part} inputs: {described(x)}")
    kind = _precision(net)
    x = each(inputs_on_cpu(x, part, net), lambda t: t.to(kind) if t.is_floating_point() else t)
    if not all(t.isfinite().all() for t in tensors(x) if t.is_floating_point()):
        raise ValueError(f"{part} inputs hold NaN or infinity: leave those examples out")
    if examples > 1 and all(bool((t == t[:1]).all()) for t in tensors(x)):
        raise ValueError(f"all {examples} {part} inputs are the same: give different examples")
    x = arguments(net, x)
    _check_runs(x, net, part)
    low = lowest_precision(net)
    if low is not None:
        _check_float32(x, net, *low)
    return x


def _check_float32(x: Inputs, net: nn.Module, name: str, dtype: torch.dtype) -> None:
    """Whether a network runs in float32, in which it is compressed."""
    try:
        with torch.no_grad():
            passed(float32_if_less(copied(net)).cpu().eval(), take(x, slice(2)))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{name!r} is {str(dtype).removeprefix('torch.')}, and the network does not run in "
            f"float32, in which it is compressed: {reason}; leave the casts out of its forward "
            "and call net.float() first"
        ) from None


def _precision(net: nn.Module) -> torch.dtype:
    """What `float32_if_less` makes of a network's first floating-point parameter."""
    first = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    return torch.promote_types(first, torch.float32)


def _check_runs(x: Inputs, net: nn.Module, part: str) -> None:
    first = next(net.parameters(), None)

    def as_weights(tensor: Tensor) -> Tensor:
        if first is None:
            return tensor
        return tensor.to(first.device, first.dtype if tensor.is_floating_point() else None)

    try:
        with torch.no_grad(), evaluating(net):
            passed(net, each(take(x, slice(2)), as_weights))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"the network does not take {part} inputs {described(x)}: {reason}"
        ) from None


def check_validation(
    validation: Any, like: Inputs | None, net: nn.Module
) -> tuple[Inputs | None, Tensor | None]:
    """Inputs and labels, None for what was not given.

    :param validation: inputs alone as a tensor or a dict, or a pair of inputs and labels, None for
        no labels.
    :param like: the calibration inputs, if there are any.
    """
    if validation is None:
        return None, None
    if isinstance(validation, Tensor | dict):
        x, y = validation, None
    elif isinstance(validation, tuple | list) and len(validation) == 2 and validation[1] is None:
        x, y = validation
    else:
        x, y = on_cpu(validation, "validation", net)
    x = check_calibration(x, net, "validation")
    if like is not None:
        check_inputs(x, like)
    return x, y
