"""What `shrink` is given, checked before any work is done."""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from ..common.examples import on_cpu
from .scores import LIKELIHOODS, check_inputs


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


def check_calibration(x: Any, net: nn.Module, part: str = "calibration") -> Tensor:
    """Inputs that a network takes, detached, on the CPU and in the precision of its weights.

    Low-precision inputs, and those of a low-precision network, are float32: it is copied as such.

    :raises ValueError: not one tensor, NaN or infinity, all the same, or of another shape than the
        network takes.
    """
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{part} inputs must be one tensor of shape (n, ...), not a {type(x).__name__}: stack "
            "them; wrap a network of several inputs in a module that takes one"
        )
    if not x.dim() or not len(x):
        raise ValueError(f"there are no {part} inputs: shape {tuple(x.shape)}")
    x = x.detach().cpu()
    if x.is_floating_point():
        x = x.to(_precision(net))
        if not x.isfinite().all():
            raise ValueError(f"{part} inputs hold NaN or infinity: leave those examples out")
    if len(x) > 1 and bool((x == x[:1]).all()):
        raise ValueError(f"all {len(x)} {part} inputs are the same: give different examples")
    _check_runs(x, net, part)
    return x


def _precision(net: nn.Module) -> torch.dtype:
    """What `float32_if_less` makes of a network's first floating-point parameter."""
    first = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    return torch.promote_types(first, torch.float32)


def _check_runs(x: Tensor, net: nn.Module, part: str) -> None:
    first = next(net.parameters(), None)
    some = x[:2] if first is None else x[:2].to(first.device)
    if first is not None and some.is_floating_point():
        some = some.to(first.dtype)
    modes = [(module, module.training) for module in net.modules()]
    try:
        with torch.no_grad():
            net.eval()(some)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"the network does not take {part} inputs of shape {tuple(x.shape)}, {x.dtype}: "
            f"{reason}"
        ) from None
    finally:
        for module, mode in modes:
            module.training = mode


def check_validation(
    validation: Any, like: Tensor | None, net: nn.Module
) -> tuple[Tensor | None, Tensor | None]:
    """Inputs and labels, None for what was not given.

    :param like: the calibration inputs, if there are any.
    """
    if validation is None:
        return None, None
    if isinstance(validation, Tensor):
        x, y = check_calibration(validation, net, "validation"), None
    else:
        x, y = on_cpu(validation, "validation", net)
        x = check_calibration(x, net, "validation")
    if like is not None:
        check_inputs(x, like)
    return x, y
