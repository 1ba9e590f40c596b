"""The example inputs that a network is traced on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .ir import Fixed

Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


def arguments_of(example: Example) -> tuple[tuple, dict]:
    """Positional and named arguments of a call; see `trace.trace`."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        return tuple(example), {}
    return (example,), {}


def batch_of(inputs: Any) -> int:
    """How many examples there are: the length of axis 0.

    :raises ValueError: there are none.
    """
    sizes = [leaf.shape[0] for leaf in tensors_in(inputs) if leaf.dim()]
    if not sizes or min(sizes) < 1:
        raise ValueError("the example must hold a tensor of at least one example: (batch, ...)")
    return sizes[0]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, dictionaries and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    if dataclasses.is_dataclass(value) and not isinstance(value, dict):
        value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    for part in value.values() if isinstance(value, dict) else ():
        yield from tensors_in(part)
    for part in value if isinstance(value, tuple | list) else ():
        yield from tensors_in(part)


def map_tensors(value: Any, change: Callable[[Tensor], Any], other: Callable = lambda v: v) -> Any:
    """The same nested value with each tensor replaced, and each other leaf by `other` of it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(part, change, other) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [map_tensors(part, change, other) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return other(value)


def of_batch(inputs: Any, old: int, new: int) -> Any:
    """The inputs with `new` examples instead of `old`: the first ones, again and again.

    Each tensor begins with another example, so that no two inputs are the same.
    """
    first = itertools.count()

    def resized(leaf: Tensor) -> Tensor:
        if not leaf.dim() or len(leaf) != old:
            return leaf
        index = (torch.arange(new, device=leaf.device) + next(first)) % old
        return leaf.detach().index_select(0, index)

    return map_tensors(inputs, resized)


def signature_of(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The nested arguments with their tensors numbered in order, other leaves as `Fixed`."""
    counter = iter(range(1 << 20))
    positional, named = map_tensors((_plain(args), _plain(kwargs)), lambda _: next(counter), Fixed)
    return positional, named


def _plain(value: Any) -> Any:
    """Named tuples as tuples."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = map(_plain, value)
        return list(parts) if isinstance(value, list) else tuple(parts)
    return value
