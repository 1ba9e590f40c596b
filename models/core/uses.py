"""How often one forward pass uses each weight, found by counting tensors in a dry run."""

from collections import Counter
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class _Counted(Tensor):
    """A tensor that counts the operations it goes into."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        # Looking at an attribute (`weight.shape`) is no use of the weight.
        if getattr(func, "__name__", "") != "__get__":
            for arg in _flat([*args, *(kwargs or {}).values()]):
                if isinstance(arg, _Counted):
                    arg.uses[arg.name_of_weight] += 1
        return result


def counted(value: Tensor, name: str, uses: Counter) -> Tensor:
    """A copy of `value` that counts its uses in `uses[name]`; it requires gradients."""
    result = value.clone().requires_grad_().as_subclass(_Counted)
    result.uses, result.name_of_weight = uses, name
    return result


def _flat(values: Iterable) -> Iterator:
    """The values, and those in lists and tuples among them (`torch.cat` takes such)."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
