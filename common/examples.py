"""Inputs of any network: one tensor, or a tuple or dict of tensors whose first axes agree."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple | list | dict


def tensors(x: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts, in order."""
    if isinstance(x, Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def each(x: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """`x` with each of its tensors changed."""
    if isinstance(x, dict):
        return {key: each(value, change) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return tuple(each(value, change) for value in x)
    return change(x) if isinstance(x, Tensor) else x


def take(x: Inputs, chosen: Any) -> Inputs:
    """The chosen examples: a slice, or indices."""
    return x[chosen] if isinstance(x, Tensor) else each(x, lambda tensor: tensor[chosen])


def count(x: Inputs, part: str = "training") -> int:
    """How many examples there are.

    :raises ValueError: for inputs that hold no tensor, or tensors of unequal first axes.
    """
    lengths = [len(t) if t.dim() else 0 for t in tensors(x)]
    if not lengths or min(lengths) != max(lengths):
        what = f"first axes of {lengths}" if lengths else type(x).__name__
        raise ValueError(
            f"{part} inputs must be one tensor, or a tuple or dict of tensors of as many examples "
            f"each; got {what}"
        )
    return lengths[0]


def bounds(count: int, size: int) -> list[int]:
    """Where parts of at most `size` of so many examples begin, and where the last one ends.

    A last part of a single example would be another kind of batch to a network that squeezes its
    output: the part before it is then one shorter.
    """
    found = [*range(0, count, size), count]
    if size > 2 and len(found) > 2 and count - found[-2] == 1:
        found[-2] -= 1
    return found


def chunks(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels in the parts of `bounds`."""
    at = bounds(len(x), size)
    for start, end in itertools.pairwise(at):
        yield x[start:end], y[start:end]


def call(net: nn.Module, x: Inputs) -> Any:
    """The network's output.

    A tuple is passed as positional arguments and a dict as keyword arguments where `forward` has
    such parameters; where it has not, either is passed as one argument.
    """
    if isinstance(x, Tensor):
        return net(x)
    parameters = inspect.signature(net.forward).parameters.values()
    kinds = {p.kind for p in parameters}
    if isinstance(x, dict):
        by_name = {
            p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
        named = inspect.Parameter.VAR_KEYWORD in kinds or x.keys() <= by_name
        return net(**x) if named else net(x)
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    many = inspect.Parameter.VAR_POSITIONAL in kinds or places >= len(x) > 1
    return net(*x) if many else net(x)


def check_pair(data: Any, part: str) -> None:
    """Refuse anything that is no pair (inputs, labels) of as many examples each, at least one.

    :raises ValueError: a DataLoader or Dataset, say; labels that are no tensor; no examples.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(
            f"{part} data must be a pair (inputs, labels) of tensors, not a {type(data).__name__}: "
            "a DataLoader or a Dataset must be read into tensors first"
        )
    x, y = data
    if not isinstance(y, Tensor):
        raise ValueError(f"{part} labels must be one tensor, not a {type(y).__name__}")
    inputs, labels = count(x, part), len(y) if y.dim() else 0
    if inputs != labels or not inputs:
        advice = "give one label for each input" if inputs or labels else "leave out an empty part"
        raise ValueError(f"{part} data: {inputs} inputs and {labels} labels; {advice}")


def on_cpu(data: Any, part: str, net: nn.Module) -> tuple[Tensor, Tensor]:
    """A checked pair of tensors, detached, on the CPU, inputs in a precision of the network's.

    :raises ValueError: as `check_pair`, and for inputs that are several tensors.
    """
    if isinstance(data, tuple | list) and len(data) == 2 and not isinstance(data[0], tuple | dict):
        data = tuple(_tensor(given, part) for given in data)
    check_pair(data, part)
    if not isinstance(data[0], Tensor):
        raise ValueError(
            f"{part} inputs must be one tensor, not a {type(data[0]).__name__}: wrap the network "
            "in a module that takes one tensor and splits it"
        )
    x, y = data[0].detach().cpu(), data[1].detach().cpu()
    low = x.is_floating_point() and x.element_size() < 4
    if low and all(p.dtype != x.dtype for p in net.parameters()):
        x = x.float()  # as models do, whose copy of the network is float32
    return x, y


def _tensor(given: Any, part: str) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{part} data must be a pair (inputs, labels) of tensors; one of the two is a "
            f"{type(given).__name__}"
        ) from None
