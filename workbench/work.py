"""How much a network computes for one input, found before it takes the memory for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ..common.examples import Inputs, call, count

MAX_NUMBERS = 1 << 22  # that all the operators of a network may give for one input


class TooMuchWork(ValueError):
    """A network computes more for an input than anybody would want of a small file."""


class _Counted(TorchDispatchMode):
    """Stops before the operator whose outputs would be too many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.total, self.largest = most, 0, 0

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        try:  # shapes alone, without memory
            outputs = func(*tree_map(_without_memory, args), **tree_map(_without_memory, kwargs))
            sizes = [t.numel() for t in tree_leaves(outputs) if isinstance(t, Tensor)]
        except Exception:  # of the operators whose shapes are in their values, or a fault
            sizes = []
        self.total += sum(sizes)
        self.largest = max([self.largest, *sizes])
        if self.total > self.most:
            raise TooMuchWork(f"it computes more than {MAX_NUMBERS:,} numbers for one input")
        return func(*args, **kwargs)


def _without_memory(value: Any) -> Any:
    return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value


def largest_output(net: nn.Module, x: Inputs) -> int:
    """The numbers in the largest output of an operator, for one input.

    :param x: inputs, `(n, ...)`.
    :raises TooMuchWork: all outputs together have more than `MAX_NUMBERS`.
    """
    with torch.no_grad(), _Counted(MAX_NUMBERS * count(x)) as counted:
        call(net, x)
    return max(counted.largest // count(x), 1)
