"""Where a user's network holds each tensor of a file, and how a value gets there.

A tensor may be a parameter, a buffer, an attribute, or what the network computes from others:
by `torch.nn.utils.parametrize`, by `weight_norm`, or by the masks of pruning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

CLOSE = 1e-5  # of a weight against its largest element


class CannotHold(ValueError):
    """A network computes a tensor in a way that cannot give the value of the file."""


@dataclass(frozen=True)
class Slot:
    """A parameter, a buffer or an attribute: an entry of a dictionary of its module."""

    tensors: dict[str, Any]
    leaf: str
    trains: bool = False

    def put(self, value: Tensor) -> None:
        """Hold a value itself, an `nn.Parameter` where the slot is one of parameters."""
        like = self.tensors[self.leaf]
        value = _fitted(value, like)
        if self.trains and not isinstance(value, nn.Parameter):
            value = nn.Parameter(value, like is not None and like.requires_grad)
        elif not self.trains:
            value = value.detach()
        self.tensors[self.leaf] = value


@dataclass(frozen=True)
class Computed:
    """A weight that its layer computes from other tensors.

    :param how: the module or hook that computes it.
    """

    module: nn.Module
    leaf: str
    name: str
    how: Any

    def put(self, value: Tensor) -> None:
        """Give the tensors behind the weight such values that the weight is as given.

        :raises CannotHold: there are none, or they are not known.
        """
        value = value.detach()
        try:
            with torch.no_grad():
                found = self._inverted(value)
        except Exception as error:  # whatever a parametrization's own code raises
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise CannotHold(f"{self._described()} {reason}") from None
        most = CLOSE * float(value.abs().max()) if value.numel() else 0.0
        if found.shape != value.shape or not torch.allclose(found, value, rtol=0, atol=most):
            raise CannotHold(f"{self._described()} it gives another weight than the file's")

    def _described(self) -> str:
        kind = self.how[0] if isinstance(self.how, parametrize.ParametrizationList) else self.how
        kind = type(kind).__name__.lstrip("_")
        return f"{self.name!r} of the network passed as into= is computed by {kind}:"

    def _inverted(self, value: Tensor) -> Tensor:
        """The weight that is computed after its sources were set."""
        parameters, leaf = self.module._parameters, self.leaf
        if isinstance(self.how, parametrize.ParametrizationList):
            return self._parametrized(value)
        if isinstance(self.how, WeightNorm):
            length, direction = _polar(value, self.how.dim)
            Slot(parameters, f"{leaf}_g", True).put(length)
            Slot(parameters, f"{leaf}_v", True).put(direction)
            return self.how.compute_weight(self.module)
        if isinstance(self.how, prune.BasePruningMethod):
            Slot(parameters, f"{leaf}_orig", True).put(value)
            mask = self.module._buffers[f"{leaf}_mask"]
            self.module._buffers[f"{leaf}_mask"] = (value != 0).to(mask.dtype)
            return self.how.apply_mask(self.module)
        raise CannotHold("it has no inverse")

    def _parametrized(self, value: Tensor) -> Tensor:
        sources = self.how._parameters
        for leaf, source in sources.items():  # an inverse writes into them
            sources[leaf] = nn.Parameter(source.detach().clone(), source.requires_grad)
        if len(self.how) == 1 and isinstance(self.how[0], parametrizations._WeightNorm):
            length, direction = _polar(value, self.how[0].dim)
            Slot(sources, "original0", True).put(length)
            Slot(sources, "original1", True).put(direction)
        elif not all(hasattr(part, "right_inverse") for part in self.how):
            raise CannotHold("it has no right_inverse")
        else:
            setattr(self.module, self.leaf, value.clone())
        return getattr(self.module, self.leaf)


Place = Slot | Computed


def places_of(net: nn.Module) -> dict[str, Place]:
    """The place of each tensor by the name that it has or would have in a state_dict."""
    return dict(_places(net))


def slots_of(net: nn.Module) -> Iterator[tuple[str, Slot]]:
    """Where a network holds each of its tensors; empty places of biases too."""
    for path, module in net.named_modules(remove_duplicate=False):
        plain = [leaf for leaf, value in vars(module).items() if isinstance(value, Tensor)]
        for tensors, leaves in (
            (vars(module), plain),
            (module._parameters, list(module._parameters)),
            (module._buffers, list(module._buffers)),
        ):
            for leaf in leaves:
                yield _joined(path, leaf), Slot(tensors, leaf, tensors is module._parameters)


def _places(net: nn.Module) -> Iterator[tuple[str, Place]]:
    yield from slots_of(net)
    for path, module in net.named_modules(remove_duplicate=False):
        computed = dict(_hooks(module))
        if parametrize.is_parametrized(module):
            computed |= module.parametrizations.items()
        for leaf, how in computed.items():
            name = _joined(path, leaf)
            yield name, Computed(module, leaf, name, how)


def _hooks(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What computes weights before each call."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            yield hook.name, hook
        elif isinstance(hook, prune.BasePruningMethod):
            yield hook._tensor_name, hook


def _joined(path: str, leaf: str) -> str:
    return f"{path}.{leaf}".lstrip(".")


def _polar(value: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Norms of slices, and slices of those norms; a slice of zeros gets another direction."""
    length = torch.norm_except_dim(value, 2, dim)
    return length, torch.where(length == 0, torch.ones_like(value), value)


def _fitted(value: Tensor, like: Tensor | None) -> Tensor:
    """A value with the axes of a tensor, from which the network's code computes the file's.

    Tracing computes once what depends on parameters alone: axes of size 1, or a transpose.
    """
    if like is None or value.dim() == like.dim() != 2:
        return value
    if value.dim() == 2 == like.dim():
        turned = value.shape != like.shape and value.shape == like.shape[::-1]
        return _like(value.detach().t().contiguous(), value) if turned else value
    sizes = iter([size for size in value.shape if size != 1])
    shape = [next(sizes, 1) if size != 1 else 1 for size in like.shape]
    if torch.Size(shape).numel() != value.numel():
        return value
    return _like(value.detach().reshape(shape), value)


def _like(changed: Tensor, value: Tensor) -> Tensor:
    trains = isinstance(value, nn.Parameter)
    return nn.Parameter(changed, value.requires_grad) if trains else changed
